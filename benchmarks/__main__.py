"""``python -m benchmarks``: run all suites, keep the raw samples, write one page, print a table."""

from __future__ import annotations

import argparse
import json
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

from benchmarks.bench_scaleout import ScaleOut, measure
from benchmarks.page import number, write_page
from benchmarks.samples import Effort, Measurement, from_pytest
from validation.environment import environment

SUITES: Final = ("kernels", "peers", "evolution", "search", "null", "scaleout")
_HERE: Final = Path(__file__).parent
_OUT: Final = _HERE.parent / "reports" / "out"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 a benchmark broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look: under 3 minutes")
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--only", choices=SUITES, action="append", help="one suite; repeatable")
    options = parser.parse_args(argv)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder: Path = options.out or _OUT / f"benchmark-{stamp}"
    folder.mkdir(parents=True, exist_ok=True)
    suites = tuple(s for s in SUITES if not options.only or s in options.only)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    facts = dict(environment())
    facts.update({name: version(name) for name in ("vectorbt", "backtesting")})
    facts.update(niceness=os.nice(0), effort="quick" if options.quick else "full")
    effort = Effort.quick() if options.quick else Effort.full()
    status, found = _pytest([s for s in suites if s != "scaleout"], options.quick, folder, say)
    scaleout = ScaleOut(reason="not asked for")
    if "scaleout" in suites:
        scaleout = measure(effort, say)
        found += scaleout.measurements()
    facts["load_1m_at_end"] = os.getloadavg()[0]
    facts["seconds"] = round(time.monotonic() - began)
    summary = {
        "stamp": stamp,
        "environment": facts,
        "effort": asdict(effort),
        "measurements": [m.as_json() for m in found],
        "scale_out": asdict(scaleout),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    page = folder / "report.html"
    write_page(page, stamp=stamp, facts=facts, measurements=found, scaleout=scaleout)
    _print(found, scaleout)
    say(f"written: {page}")
    return 1 if status or scaleout.broken else 0


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
        for name in ("benchmark", "median", "middle half", "samples", "beside it"):
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
