"""Measurements -> one offline HTML page, in the style of the gate's report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evolution_gate.benchmarks.bench_scaleout import CPUS_PER_NODE, ScaleOut
from evolution_gate.benchmarks.samples import Measurement
from evolution_gate.reports.svg import picture, tag

_TITLES: Final = {
    "kernels": "Kernels on one core: one bar of one genome, 10,000 bars",
    "numerics": "Portable functions, compared with NumPy's in pairs: below 1 is faster",
    "banks": "Indicator banks, built once per market and family",
    "learned": "Learned families, one genome on 10,000 bars, compared with plain scikit-learn",
    "peers": "Compared with other libraries: the same EMA crossover on 10,000 bars",
    "evolution": "One whole evolution, hourly EUR/USD, this machine",
    "ten thousand backtests": "500 x 20 individuals, 5 assets x 5,760 bars, one process, ledger on",
    "search": "Best in-sample fitness at equal evaluations, one dot per seed",
    "honesty": "Claims of an edge on markets with known truth",
    "growth": "Growth of costs: the exponent, 1 is linear",
    "batch size": "Batch size: evaluations through one worker process, rule families",
    "ledger and cache": "Ledger and cache: storage, one generation at a time",
    "service latency": "The HTTP service: from a request to its answer",
    "overhead": "Overhead of ledger, log and telemetry, in pairs with a run without them",
    "memory": "Memory by population size",
    "recovery": "Recovery: a node killed, its work redone, and started again",
    "scale-out": f"Scale-out on nodes of {CPUS_PER_NODE} CPU, arms taking turns",
}
_WIDTH: Final = 300.0
_HEIGHT: Final = 26.0
_PAD: Final = 8.0
MOST_DOTS: Final = 200
"""Maximum number of dots per row; more would make the page megabytes large, and overlap."""
_LOG_FROM: Final = 20.0
"""Ratio of the largest to the smallest median from which a suite has a logarithmic scale."""


def number(value: float) -> str:
    """Three significant digits, with thousands marked."""
    if value == 0 or not math.isfinite(value):
        return str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def write_page(
    path: Path,
    *,
    stamp: str,
    facts: Mapping[str, object],
    measurements: Sequence[Measurement],
    scaleout: ScaleOut,
    remarks: Sequence[str] = (),
    drawing: Markup | None = None,
) -> None:
    """Write the self-contained page."""
    templates = Environment(
        loader=PackageLoader("evolution_gate.benchmarks", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    suites = []
    for title, members in by_suite(measurements):
        logarithmic = _spread(members) > _LOG_FROM
        rows = [(m, _strip(m, members, logarithmic)) for m in members]
        suites.append((title, logarithmic, rows))
    page = templates.get_template("page.html.j2").render(
        stamp=stamp,
        facts=sorted(facts.items()),
        suites=suites,
        missing=scaleout.reason,
        remarks=remarks,
        drawing=drawing,
        number=number,
        thinned=MOST_DOTS if any(len(m.samples) > MOST_DOTS for m in measurements) else 0,
    )
    path.write_text(page, encoding="utf-8")


def by_suite(measurements: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """Title and members of every non-empty suite, in the order of the report; a suite without a
    title is last, under its name.
    """
    suites = dict.fromkeys(m.suite for m in measurements)
    ordered = [suite for suite in _TITLES if suite in suites]
    ordered += [suite for suite in suites if suite not in _TITLES]
    return [
        (_TITLES.get(suite, suite), [m for m in measurements if m.suite == suite])
        for suite in ordered
    ]


def _spread(members: Sequence[Measurement]) -> float:
    medians = [m.typical for m in members]
    drawable = all(sample > 0 for m in members for sample in m.samples)
    return max(medians) / min(medians) if drawable else 1.0


def thinned(samples: Sequence[float]) -> Sequence[float]:
    """All samples, or a subset: the smallest, the largest, and others evenly by rank."""
    if len(samples) <= MOST_DOTS:
        return samples
    ordered, last = sorted(samples), len(samples) - 1
    return [ordered[round(rank * last / (MOST_DOTS - 1))] for rank in range(MOST_DOTS)]


def _strip(measurement: Measurement, members: Sequence[Measurement], logarithmic: bool) -> Markup:
    """All samples as dots over the middle half, on one scale for all rows of the suite with that
    unit.
    """
    values = [s for m in members if m.unit == measurement.unit for s in m.samples]
    low = min(values) if logarithmic else 0.0

    def place(value: float) -> float:
        if logarithmic:
            span = math.log(max(values) / low) or 1.0
            share = math.log(value / low) / span
        else:
            share = max(value, 0.0) / (max(values) or 1.0)
        return _PAD + share * (_WIDTH - 2 * _PAD)

    first, third = measurement.middle_half
    middle = _HEIGHT / 2
    box = tag(
        "rect",
        class_="half",
        x=place(first),
        y=middle - 8,
        width=max(place(third) - place(first), 2.0),
        height=16,
        rx=2,
    )
    line = tag("line", class_="grid", x1=_PAD, x2=_WIDTH - _PAD, y1=middle, y2=middle)
    dots = [
        tag("circle", class_="dot", cx=place(s), cy=middle, r=3)
        for s in thinned(measurement.samples)
    ]
    at = place(measurement.typical)
    typical = tag("line", class_="median", x1=at, x2=at, y1=middle - 10, y2=middle + 10)
    said = (
        f"{len(measurement.samples)} samples, median {number(measurement.typical)}"
        f" {measurement.unit}, middle half {number(first)} to {number(third)}"
    )
    return picture(_WIDTH, _HEIGHT, measurement.name, said, line, box, *dots, typical)
