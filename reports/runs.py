"""Earlier runs and their stored verdicts.

Each report writes a ``result.json`` next to its page. These files are read and never judged again:
a trend shows the verdicts of the time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from evolution_gate.reports.svg import picture, tag
from validation.criteria.registry import CRITERIA
from validation.decision import Decision
from validation.evidence.files import MOST_BYTES, read_document
from validation.verdict import Status

RESULT: Final = "result.json"
MOST_RUNS: Final = 16
"""Maximum number of columns of a trend."""
_END: Final[dict[str, Any]] = {"text_anchor": "end"}
_WIDTH, _HEIGHT = 260.0, 70.0


@dataclass(frozen=True, kw_only=True)
class Said:
    """The verdict of one run on one criterion."""

    status: str
    measured: str
    unit: str
    interval: tuple[float, float] | None
    """Lower and upper bound; may be infinite."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One decided run."""

    folder: str
    """Name of its folder, which contains the page."""
    name: str
    """Time of its start, short enough for a column."""
    started_at: float
    """Unix seconds."""
    decision: str
    backend: str
    nodes: int
    verdicts: Mapping[str, Said]
    uncertified: int
    """Criteria without a certificate."""
    differences: tuple[str, ...] = ()
    """Thresholds and tiers that differed from the plan's, in words."""

    def count(self, status: Status) -> int:
        """How many criteria have a status."""
        return sum(said.status == status.value for said in self.verdicts.values())

    def changed(self, before: Run) -> list[str]:
        """Criteria whose status differs from that in an earlier run: ``speedup PASS → FAIL``."""
        return [
            f"{name} {before.verdicts[name].status} → {said.status}"
            for name, said in self.verdicts.items()
            if name in before.verdicts and before.verdicts[name].status != said.status
        ]


@dataclass(frozen=True, kw_only=True)
class Trend:
    """Some runs side by side, the oldest first."""

    runs: tuple[Run, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """Criterion, and its status in each run; empty where it was not judged."""
    charts: tuple[tuple[str, str, str, Markup], ...]
    """Criterion, its target, its last measurement, and its bounds over the runs."""
    left_out: int


def read_runs(folder: Path) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """All decided runs in the folders of ``folder``, the oldest first, and the unreadable files.

    A damaged file is reported with its reason.
    """
    runs, damaged = [], []
    there = (one / RESULT for one in sorted(folder.iterdir()))
    # Not glob, which leaves out what it cannot follow.
    for path in (one for one in there if os.path.lexists(one)):
        try:
            runs.append(_run(path.parent.name, read_document(path, most=MOST_BYTES)))
        except OSError as error:
            damaged.append(f"{path.parent.name}/{RESULT}: {error.strerror}")
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            why = str(error).removeprefix(f"{path}: ")
            damaged.append(f"{path.parent.name}/{RESULT}: {type(error).__name__}: {why}")
    return tuple(sorted(runs, key=lambda run: run.started_at)), tuple(damaged)


def trend(runs: Sequence[Run]) -> Trend:
    """The last ``MOST_RUNS`` of some runs, the oldest first."""
    shown = tuple(runs[-MOST_RUNS:])
    names = list(dict.fromkeys(name for run in reversed(shown) for name in run.verdicts))
    drawn = ((name, _chart(name, shown)) for name in names)
    targets = {criterion.id: criterion.target for criterion in CRITERIA}
    return Trend(
        runs=shown,
        rows=tuple(
            (
                name,
                tuple(run.verdicts[name].status if name in run.verdicts else "" for run in shown),
            )
            for name in names
        ),
        charts=tuple(
            (
                name,
                targets.get(name, ""),
                shown[-1].verdicts[name].measured if name in shown[-1].verdicts else "",
                chart,
            )
            for name, chart in drawn
            if chart is not None
        ),
        left_out=len(runs) - len(shown),
    )


def _outcome(found: Any) -> Decision:
    """The decision; its text goes on where targets differ from the plan's.

    Raises:
        ValueError: the text is not of that decision.
    """
    outcome = Decision(found.get("outcome", found["decision"]))
    if not str(found["decision"]).startswith(outcome.value):
        raise ValueError(f"{found['decision']!r:.40} is no text of {outcome.value}")
    return outcome


def _run(folder: str, found: Any) -> Run:
    source = found["sources"][0]
    return Run(
        folder=folder,
        name=datetime.fromtimestamp(source["started_at"], UTC).strftime("%m-%d %H:%M"),
        started_at=float(source["started_at"]),
        decision=_outcome(found).value,
        backend=str(source["backend"]),
        nodes=int(source["nodes"]),
        verdicts={
            str(one["criterion"]): Said(
                status=Status(one["status"]).value,
                measured=str(one["measured"]),
                unit=str(one["unit"]),
                interval=_interval(one["interval"]),
            )
            for one in found["verdicts"]
        },
        uncertified=len(found.get("uncertified", ())),
        differences=tuple(map(str, found.get("targets", {}).get("differences", ()))),
    )


def _interval(bounds: Sequence[float | None] | None) -> tuple[float, float] | None:
    if bounds is None:
        return None
    lower, upper = bounds
    return -math.inf if lower is None else float(lower), math.inf if upper is None else float(upper)


def _chart(name: str, runs: Sequence[Run]) -> Markup | None:
    """Bounds of one criterion over the runs; None if fewer than two have a finite bound."""
    found = [(n, said) for n, run in enumerate(runs) if (said := run.verdicts.get(name))]
    bars = [(n, said.interval) for n, said in found if said.interval is not None]
    finite = [bound for _, pair in bars for bound in pair if math.isfinite(bound)]
    if len(bars) < 2 or not finite:
        return None
    low, high = min(0.0, *finite), max(*finite, 0.0)
    high = high if high > low else low + 1.0
    top, bottom, left = 10.0, _HEIGHT - 8, 56.0

    def x(number: int) -> float:
        return left + (_WIDTH - left - 14) * (number + 0.5) / len(runs)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (min(max(value, low), high) - low) / (high - low)

    parts = []
    for value in (low, high):
        parts += [
            tag("line", x1=left, x2=_WIDTH - 4, y1=y(value), y2=y(value), class_="grid"),
            tag("text", _short(value), x=left - 5, y=y(value) + 4, class_="axis", **_END),
        ]
    for number, (lower, upper) in bars:
        run = runs[number]
        words = f"{run.name}: {run.verdicts[name].measured}, {run.verdicts[name].status}"
        # Equal bounds would draw nothing.
        first, last = y(upper), max(y(lower), y(upper) + 0.1)
        kind = "whisker last" if number == len(runs) - 1 else "whisker"
        parts.append(
            tag(
                "line",
                tag("title", words),
                x1=x(number),
                x2=x(number),
                y1=first,
                y2=last,
                class_=kind,
            )
        )
    unit = found[-1][1].unit or "no unit"
    words = f"{len(bars)} runs with bounds from {min(finite):.3g} to {max(finite):.3g}."
    return picture(_WIDTH, _HEIGHT, f"{name} ({unit}) over runs", words, *parts)


def _short(value: float) -> str:
    """A bound for an axis: at most six characters."""
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-2 else f"{value:.0e}"
