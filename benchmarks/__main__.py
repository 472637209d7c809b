"""Run all suites, store the raw samples, write a page, print a table."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from evolution_gate.benchmarks import charts, compare, markdown
from evolution_gate.benchmarks.baselines import FORMAT, BaselineError, changes, history, keep
from evolution_gate.benchmarks.bench_scaleout import ScaleOut, market_of_arms
from evolution_gate.benchmarks.cluster_arms import measure
from evolution_gate.benchmarks.page import by_suite, number, write_page
from evolution_gate.benchmarks.samples import Effort, Measurement, from_pytest
from evolution_gate.benchmarks.scaling import WITHIN, Law, Predicted
from ga.capacity.calibration import measure as measure_costs
from ga.capacity.calibration_file import kept_at, load, save, this_machine
from ga.capacity.cost_model import Costs, costs_of
from ga.evaluation.settings import Settings
from validation.stages.environment import environment

SUITES: Final = (
    "kernels",
    "numerics",
    "peers",
    "evolution",
    "search",
    "null",
    "growth",
    "storage",
    "coordinator",
    "overhead",
    "service",
    "scaleout",
)
_HERE: Final = Path(__file__).resolve().parent
_OUT: Final = Path("reports") / "out"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a benchmark failed, 2 bad input; for ``compare`` see ``command``
    there.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--compare" in arguments:
        # tox -e benchmark -- --compare BASELINE
        arguments[arguments.index("--compare")] = "compare"
    if arguments[:1] == ["compare"]:
        return _compare(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m evolution_gate.benchmarks", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="smoke run, under 3 minutes")
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--only", choices=SUITES, action="append", help="one suite; repeatable")
    parser.add_argument(
        "--compare", type=Path, metavar="BASELINE", help="like: compare BASELINE (summary.json)"
    )
    options = parser.parse_args(arguments)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder: Path = options.out or _OUT / f"benchmark-{stamp}"
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    suites = tuple(s for s in SUITES if not options.only or s in options.only)
    began, say = time.monotonic(), _progress_printer()
    facts = dict(environment())
    facts.update({name: version(name) for name in ("vectorbt", "backtesting")})
    facts.update(niceness=os.nice(0), effort="quick" if options.quick else "full")
    effort = Effort.quick() if options.quick else Effort.full()
    status, found = _pytest([s for s in suites if s != "scaleout"], options.quick, folder, say)
    scaleout = ScaleOut(reason="not asked for")
    remarks: list[str] = []
    drawing, law = None, None
    predicted: tuple[Predicted, ...] = ()
    if "scaleout" in suites:
        scaleout = measure(effort, say)
        found += scaleout.measurements()
        law = scaleout.law()
        drawing = None if law is None else charts.scale_out(scaleout.by_nodes(), law)
        predicted = scaleout.predicted(_costs(not options.only, say))
        remarks += scale_remarks(law, predicted)
    facts["load_1m_at_end"] = os.getloadavg()[0]
    facts["seconds"] = round(time.monotonic() - began)
    summary: dict[str, object] = {
        "format": FORMAT,
        "stamp": stamp,
        "machine": asdict(this_machine()),
        "environment": facts,
        "effort": asdict(effort),
        "measurements": [m.as_json() for m in found],
        "scale_out": asdict(scaleout),
        "law": None if law is None else asdict(law),
        "foretold": [{**asdict(one), "error": one.error} for one in predicted],
    }
    # Store it before later steps can fail; stored again below with the remarks.
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    if status == 0 and not scaleout.broken and not options.only:
        say(f"kept: {keep(summary)}")
    remarks += _history(str(facts["effort"]))
    summary["remarks"] = remarks
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    page = folder / "report.html"
    write_page(
        page,
        stamp=stamp,
        facts=facts,
        measurements=found,
        scaleout=scaleout,
        remarks=remarks,
        drawing=drawing,
    )
    text = markdown.summary(stamp=stamp, facts=facts, suites=by_suite(found), remarks=remarks)
    (folder / "summary.md").write_text(text)
    _print(found, scaleout)
    for remark in remarks:
        print(remark)
    say(f"written: {page}")
    return 1 if status or scaleout.broken else 0


def _costs(force: bool, say: Callable[[str], None]) -> Costs:
    """This machine's costs for the plan and the simulation; measured and stored with ``force``, or
    if there are none.
    """
    kept = kept_at(this_machine())
    if force or not kept.is_file():
        say("costs for python -m ga plan")
        save(measure_costs(say), kept)
    assets, bars = market_of_arms()
    cells = assets * int(bars * (1.0 - Settings().holdout))
    baseline = load(None)
    return costs_of(
        baseline, cells=cells, families=tuple(baseline.families), edge="point", factor=1.0
    )


def scale_remarks(law: Law | None, predicted: Sequence[Predicted]) -> list[str]:
    """Describe the results of the fitted curve and the simulation."""
    found = []
    if law is not None:
        peak = "never turns down" if math.isinf(law.peak) else f"turns down at {law.peak:.0f} nodes"
        serial, coherence = (
            f"{value:.4f} ({low:.4f} to {high:.4f})"
            for value, low, high in (law.serial, law.coherence)
        )
        found.append(
            f"universal scalability law: serial part {serial}, coherence {coherence}, 95 % by"
            f" bootstrap over repeats; the curve {peak}"
        )
    if predicted:
        said = ", ".join(
            f"{one.arm} {one.simulated:.1f} s for {one.measured:.1f} s"
            # Adding zero removes the sign of -0.0.
            f" ({round(one.error, 2) + 0.0:+.0%})"
            for one in predicted
        )
        worst = max(abs(one.error) for one in predicted)
        verdict = "within" if worst <= WITHIN else "NOT within"
        found.append(
            f"simulation of ga plan, calibrated with one node: {said}; {verdict} {WITHIN:.0%} of "
            "what was measured"
        )
    return found


def _history(effort: str) -> list[str]:
    """Changes over the stored runs of this machine."""
    runs = history(this_machine())
    found = [
        f"level changed from {stamp} on: {name}, {number(shift.before)} to {number(shift.after)}"
        f" (p {shift.p:.4f})"
        for name, (shift, stamp) in changes(runs, effort).items()
    ]
    alike = sum(run.effort == effort for run in runs)
    return [
        *found,
        f"{alike} stored runs of this effort on this machine; change points are searched from 8 "
        "runs on",
    ]


def _compare(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evolution_gate.benchmarks compare",
        description="Slower, same, faster, or cannot tell: both versions are run now, in turn.",
    )
    compare.add_parser(parser)
    try:
        return compare.command(parser.parse_args(arguments), _progress_printer())
    except BaselineError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def _progress_printer() -> Callable[[str], None]:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    return say


def _pytest(
    suites: Sequence[str], quick: bool, folder: Path, say: Callable[[str], None]
) -> tuple[int, list[Measurement]]:
    if not suites:
        return 0, []
    report = folder / "pytest-benchmark.json"
    argv = [sys.executable, "-m", "pytest", "--confcutdir", str(_HERE), "--rootdir"]
    argv += [str(_HERE.parent), "-v", "--no-header", "-p", "no:cacheprovider"]
    argv += ["--benchmark-columns=median,iqr,rounds", "--benchmark-quiet"]
    argv += [f"--benchmark-json={report}", *(["--quick"] if quick else [])]
    argv += [str(_HERE / f"bench_{suite}.py") for suite in suites]
    say(f"suites: {', '.join(suites)}")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=_HERE.parent) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "::" in line or line.startswith(("E ", "FAILED", "ERROR")):
                say(line.rstrip())
    found = from_pytest(json.loads(report.read_text())) if report.exists() else []
    return process.returncode, found


def _print(measurements: Sequence[Measurement], scaleout: ScaleOut) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)
    for suite in dict.fromkeys(m.suite for m in measurements):
        table = Table(title=suite, title_justify="left")
        for name in ("benchmark", "median", "middle half", "samples", "note"):
            right = name in ("median", "middle half", "samples")
            table.add_column(name, justify="right" if right else "left", overflow="fold")
        for m in measurements:
            if m.suite == suite:
                spread = " .. ".join(number(edge) for edge in m.middle_half)
                median = f"{number(m.typical)} {m.unit}"
                table.add_row(m.name, median, spread, str(len(m.samples)), m.note)
        console.print(table)
    if scaleout.reason:
        console.print(f"scale-out: {scaleout.reason}")


if __name__ == "__main__":
    sys.exit(main())
