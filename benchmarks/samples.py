"""Results of benchmarks: raw samples with their unit, and summaries."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Effort of the measurements."""

    rounds: int
    """Rounds of a kernel or a peer."""
    lanes: int
    """Genomes per round."""
    whole_rounds: int
    """Rounds of a whole evolution."""
    generations: int
    """Generations of a whole evolution, with 200 individuals."""
    repeats: int
    """Interleaved repeats of every scale-out arm."""
    nodes: tuple[int, ...]
    """Numbers of nodes of the scale-out arms."""
    whole_pairs: int
    """Pairs of arms on a node of a whole core."""
    recoveries: int
    """Nodes that are killed and started again without an evolution."""
    kills: int
    """Nodes that are killed during an evolution, one after the other."""
    scale_generations: int
    """Generations of a scale-out arm, with 1,000 individuals."""
    search_seeds: int
    """Seeds of every search."""
    search_budget: int
    """Different genomes that a search may evaluate."""
    null_seeds: int
    """Runs on random walks."""

    @classmethod
    def full(cls) -> Self:
        """Full run: under 20 minutes on 2 cores, most of it scale-out."""
        return cls(
            rounds=30,
            lanes=128,
            whole_rounds=3,
            generations=10,
            repeats=3,
            # From 8 cores on a node has a whole core; the head and the coordinator also need one.
            nodes=(1, 2, 4, 8) if len(os.sched_getaffinity(0)) >= 12 else (1, 2, 4),
            whole_pairs=3,
            recoveries=3,
            kills=10,
            scale_generations=2,
            search_seeds=10,
            search_budget=800,
            null_seeds=40,
        )

    @classmethod
    def quick(cls) -> Self:
        """Smoke run: under 3 minutes on 2 cores."""
        return cls(
            rounds=7,
            lanes=32,
            whole_rounds=2,
            generations=5,
            repeats=3,
            nodes=(4,),
            whole_pairs=0,
            recoveries=2,
            kills=3,
            scale_generations=3,
            search_seeds=3,
            search_budget=300,
            null_seeds=20,
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of the report: raw samples in the order of measurement."""

    suite: str
    name: str
    unit: str
    samples: tuple[float, ...]
    lower_is_better: bool = True
    note: str = ""
    """A note, such as the ratio to a peer."""

    @property
    def typical(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def middle_half(self) -> tuple[float, float]:
        """First and third quartile."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        first, _, third = quantiles(self.samples, n=4, method="inclusive")
        return first, third

    def as_json(self) -> dict[str, object]:
        """For summary.json."""
        low, high = self.middle_half
        return {
            "suite": self.suite,
            "name": self.name,
            "unit": self.unit,
            "median": self.typical,
            "first_quartile": low,
            "third_quartile": high,
            "lower_is_better": self.lower_is_better,
            "note": self.note,
            "samples": list(self.samples),
        }


def from_pytest(report: Mapping[str, Any]) -> list[Measurement]:
    """Measurements of a pytest-benchmark report.

    A benchmark sets in ``extra_info``: ``suite``, ``label``, ``unit`` and either ``scale`` (a
    factor for seconds per round) or its own ``samples``. With ``reference`` (a label of the same
    suite), the note gets the ratio to it.
    """
    found: list[Measurement] = []
    for entry in report["benchmarks"]:
        extra = entry["extra_info"]
        own = extra.get("samples")
        samples = own or [seconds * extra["scale"] for seconds in entry["stats"]["data"]]
        found.append(
            Measurement(
                suite=extra["suite"],
                name=extra["label"],
                unit=extra["unit"],
                samples=tuple(float(s) for s in samples),
                lower_is_better=not own or extra.get("lower_is_better", False),
                note=extra.get("note", ""),
            )
        )
    found += _geometric_mean(found)
    return [_compared(m, found) for m in found]


def _geometric_mean(found: Sequence[Measurement]) -> list[Measurement]:
    """A combined line for all families' evaluations, round by round."""
    each = [m for m in found if m.name.startswith("evaluation: ")]
    if len(each) < 2:
        return []
    rounds = min(len(m.samples) for m in each)
    means = [math.exp(sum(math.log(m.samples[i]) for m in each) / len(each)) for i in range(rounds)]
    slowest = max(each, key=lambda m: m.typical)
    return [
        Measurement(
            suite=each[0].suite,
            name=f"geometric mean of {len(each)} rule families",
            unit=each[0].unit,
            samples=tuple(means),
            note=f"slowest: {slowest.name.split()[-1]}, {slowest.typical:.2f} {slowest.unit}",
        )
    ]


_RIVALS = ("peers", "ten thousand backtests")
"""Suites whose members do the same work, so each is compared with the best."""


def _compared(measurement: Measurement, others: Sequence[Measurement]) -> Measurement:
    """In suites of rivals, add the ratio to the best one to the notes."""
    rivals = [m for m in others if m.suite == measurement.suite]
    if measurement.suite not in _RIVALS or len(rivals) < 2:
        return measurement
    if measurement.lower_is_better:
        ratio = measurement.typical / min(m.typical for m in rivals)
    else:
        ratio = max(m.typical for m in rivals) / measurement.typical
    said = "1 x" if math.isclose(ratio, 1.0) else f"{ratio:,.0f} x"
    note = f"{said}; {measurement.note}" if measurement.note else said
    return Measurement(
        suite=measurement.suite,
        name=measurement.name,
        unit=measurement.unit,
        samples=measurement.samples,
        lower_is_better=measurement.lower_is_better,
        note=note,
    )
