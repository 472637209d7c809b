"""The performance baseline of a campaign, as a page and as JSON: what the plan calls "performance
baseline established and documented".

Every number comes from recorded evidence. What was not measured is written as missing, with its
reason. The same evidence gives the same bytes.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ga.errors import InputError
from validation.decision import GateResult, decide
from validation.evidence.identity import SIMULATED
from validation.evidence.log import Evidence
from validation.evidence.records import Environment, Workload
from validation.verdict import bounds

PAGE: Final = "baseline.md"
DATA: Final = "baseline.json"
_FORMAT: Final = 1
_FIGURES: Final = (
    ("speed-up", "speedup"),
    ("generation time", "generation_time"),
    ("recovery of a worker", "worker_recovery"),
)
"""Name, and the criterion that measures it."""
_MACHINE: Final = ("cpu", "cores", "memory_bytes", "python", "ray", "numpy", "numba")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured number, or why there is none."""

    name: str
    measured: str
    """In words, with its unit; empty: missing."""
    bounds: tuple[float | None, float | None] | None
    """In ``unit``; None inside: no bound. As ``range_of`` says."""
    range_of: str
    """What the bounds are: ``95 %``, or ``smallest and largest``."""
    unit: str
    target: str
    """Of the plan; empty: it has none."""
    status: str
    """The verdict on the criterion; empty: none judges it."""
    reason: str
    """What it rests on; of a missing one, why it is missing."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What the evidence of some runs of one system says of its performance."""

    date: str
    """ISO date in UTC at which the first run began."""
    commit: str
    system: str
    machine: dict[str, object]
    figures: tuple[Figure, ...]
    runs: tuple[tuple[str, str, str], ...]
    """Name, SHA-256 of the evidence, and the command that repeats it."""


def baseline(evidence: Sequence[Evidence]) -> Baseline:
    """Take the figures from evidence.

    Raises:
        EvidenceError: the runs are of different systems, or one is there twice.
        InputError: a run was simulated: it measured nothing.
    """
    for record in evidence:
        if record.opening.backend == SIMULATED:
            raise InputError(f"{record.source}: a simulated run is no baseline")
    result = decide(evidence)
    facts: dict[str, object] = {}
    for record in evidence:
        for environment in record.all(Environment):
            facts.update(environment.values)
    began = min(record.opening.started_at for record in evidence)
    return Baseline(
        date=datetime.fromtimestamp(began, tz=UTC).date().isoformat(),
        commit=str(facts.get("commit", "unknown")),
        system=result.system,
        machine={name: facts[name] for name in _MACHINE if name in facts},
        figures=(*(_judged(name, one, result) for name, one in _FIGURES), _throughput(evidence)),
        runs=tuple((one.run, one.sha256, one.replay) for one in result.sources),
    )


def write(found: Baseline, folder: Path) -> tuple[Path, Path]:
    """Write ``baseline.md`` and ``baseline.json`` into a folder; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / PAGE, folder / DATA
    page.write_text(as_markdown(found), encoding="utf-8")
    stored = {"format": _FORMAT, **asdict(found)}
    text = json.dumps(stored, indent=2, ensure_ascii=False, allow_nan=False)
    data.write_text(text + "\n", encoding="utf-8")
    return page, data


def as_markdown(found: Baseline) -> str:
    """The page."""
    machine = ", ".join(f"{name} {_flat(str(value))}" for name, value in found.machine.items())
    lines = [
        "# Performance baseline",
        "",
        "Written by `python -m validation baseline`; do not edit.",
        "",
        f"- Date: {found.date}",
        f"- Commit: {_flat(found.commit)}",
        f"- System: {_flat(found.system)}",
        f"- Machine: {machine or 'not recorded'}",
        "",
        "| figure | measured | bounds | target of the plan | verdict | basis |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in found.figures:
        limits = "–"
        if one.bounds is not None:
            ends = ["none" if end is None else f"{end:.4g}" for end in one.bounds]
            limits = f"{ends[0]} to {ends[1]} {one.unit} ({one.range_of})"
        cells = [one.name, one.measured or "**missing**", limits, one.target or "–"]
        cells += [one.status or "–", one.reason]
        lines.append(f"| {' | '.join(map(_flat, cells))} |")
    lines += ["", "## Evidence", ""]
    lines += [f"- run `{run}`, sha256 `{sha}`, `{_flat(again)}`" for run, sha, again in found.runs]
    return "\n".join(lines) + "\n"


def _judged(name: str, criterion: str, result: GateResult) -> Figure:
    """The figure that a criterion measures."""
    (rule,) = (one for one in result.criteria if one.id == criterion)
    verdict = result.verdict(criterion)
    ends = None
    if bounds(verdict, rule.unit) and verdict.interval is not None:
        low, high = (end if math.isfinite(end) else None for end in verdict.interval)
        ends = (low, high)
    return Figure(
        name=name,
        measured=verdict.measured,
        bounds=ends if verdict.measured else None,
        range_of="95 %",
        unit=rule.unit,
        target=rule.target,
        status=verdict.status.value,
        reason=verdict.reason,
    )


def _throughput(evidence: Sequence[Evidence]) -> Figure:
    """Evaluations a second of the cluster, in the distributed workloads of the speed-up."""
    rates = [
        work.evaluations / work.seconds
        for record in evidence
        if record.closed
        for work in record.all(Workload)
        if (work.purpose, work.arm, work.exit_code) == ("speedup", "distributed", 0)
        and work.seconds > 0
    ]
    measured, reason, ends = "", "no finished distributed workload of the speed-up", None
    if rates:
        measured = f"{statistics.median(rates):.4g} evaluations/s, median of {len(rates)}"
        reason = "evaluations over the wall time of the evolution, on all nodes"
        ends = (min(rates), max(rates))
    return Figure(
        name="throughput",
        measured=measured,
        bounds=ends,
        range_of="smallest and largest",
        unit="evaluations/s",
        target="",
        status="",
        reason=reason,
    )


def _flat(text: str) -> str:
    """Text for a table cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
