"""What a benchmark hands over: raw samples with their unit, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int
    """Rounds of a kernel or a peer."""
    lanes: int
    """Genomes a round."""
    whole_rounds: int
    """Rounds of a whole evolution."""
    generations: int
    """Of a whole evolution, with 200 individuals."""
    repeats: int
    """Interleaved repeats of every scale-out arm."""
    nodes: tuple[int, ...]
    """Scale-out arms beside the local one."""
    scale_generations: int
    """Of a scale-out arm, with 600 individuals."""
    search_seeds: int
    """Seeds of every search."""
    search_budget: int
    """Different genomes that a search may evaluate."""
    null_seeds: int
    """Runs on random walks."""

    @classmethod
    def full(cls) -> Self:
        """For a record: under 12 minutes on 2 cores."""
        return cls(
            rounds=30,
            lanes=128,
            whole_rounds=5,
            generations=10,
            repeats=4,
            nodes=(1, 2, 4),
            scale_generations=8,
            search_seeds=10,
            search_budget=600,
            null_seeds=40,
        )

    @classmethod
    def quick(cls) -> Self:
        """For a look: under 3 minutes on 2 cores."""
        return cls(
            rounds=7,
            lanes=32,
            whole_rounds=2,
            generations=5,
            repeats=3,
            nodes=(4,),
            scale_generations=3,
            search_seeds=3,
            search_budget=300,
            null_seeds=20,
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One line of the report: raw samples in the order they were taken."""

    suite: str
    name: str
    unit: str
    samples: tuple[float, ...]
    lower_is_better: bool = True
    note: str = ""
    """What else was seen, such as the ratio to a peer."""

    @property
    def typical(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def middle_half(self) -> tuple[float, float]:
        """First and third quartile: what half of the samples lie between."""
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

    A benchmark says in ``extra_info``: ``suite``, ``label``, ``unit`` and either ``scale`` (what to
    multiply seconds a round with) or ``samples`` of its own. With ``reference`` (a label of the
    same suite), the note gets the ratio to it.
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
                lower_is_better=not own,
                note=extra.get("note", ""),
            )
        )
    return [_compared(m, found) for m in found]


def _compared(measurement: Measurement, others: Sequence[Measurement]) -> Measurement:
    """In the suite ``peers``, add the ratio to its fastest member."""
    rivals = [m for m in others if m.suite == measurement.suite]
    if measurement.suite != "peers" or len(rivals) < 2:
        return measurement
    fastest = min(rivals, key=lambda m: m.typical)
    ratio = measurement.typical / fastest.typical
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
