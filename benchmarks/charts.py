"""The scale-out as a curve: measurements, the fitted law with its band, and the ideal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup

from evolution_gate.benchmarks.scaling import Law
from evolution_gate.reports.svg import path, picture, tag, ticks

_WIDTH: Final = 720.0
_HEIGHT: Final = 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 14.0, 40.0


def scale_out(seconds: Mapping[int, Sequence[float]], law: Law) -> Markup:
    """Throughput against nodes, one node of the fitted law being 1."""
    unit = law.one[0]
    most_nodes = law.band[-1][0]
    measured = [(n, 1.0 / t / unit) for n, times in seconds.items() for t in times]
    highest = max(max(high / unit for *_, high in law.band), max(y for _, y in measured))
    marks = ticks(highest)

    def x(nodes: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * nodes / most_nodes

    def y(rate: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * rate / marks[-1]

    drawn: list[Markup] = []
    for mark in marks:
        drawn.append(
            tag("line", class_="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(mark), y2=y(mark))
        )
        drawn.append(
            tag("text", f"{mark:g}", class_="label", x=_LEFT - 8, y=y(mark) + 4, text_anchor="end")
        )
    drawn += [
        tag("text", f"{n:g}", class_="label", x=x(n), y=_HEIGHT - 20, text_anchor="middle")
        for n in ticks(most_nodes, 8)
        if 0 < n <= most_nodes
    ]
    upper = [(x(n), y(high / unit)) for n, _, _, high in law.band]
    lower = [(x(n), y(low / unit)) for n, _, low, _ in reversed(law.band)]
    drawn.append(tag("path", class_="half", d=path(upper + lower) + "Z"))
    ideal = min(most_nodes, marks[-1])
    drawn.append(tag("path", class_="ideal", d=path([(x(0), y(0)), (x(ideal), y(ideal))])))
    drawn.append(
        tag("path", class_="curve", d=path([(x(n), y(r / unit)) for n, r, *_ in law.band]))
    )
    drawn += [tag("circle", class_="dot", cx=x(n), cy=y(rate), r=4) for n, rate in measured]
    drawn.append(
        tag(
            "text",
            "nodes",
            class_="label",
            x=(_LEFT + _WIDTH) / 2,
            y=_HEIGHT - 4,
            text_anchor="middle",
        )
    )
    said = (
        f"Throughput against nodes, one node as 1: {len(measured)} runs on"
        f" {', '.join(map(str, sorted(seconds)))} nodes, serial part {law.serial[0]:.3f}, coherence"
        f" {law.coherence[0]:.4f}; dashed: ideal, proportional to nodes"
    )
    return picture(_WIDTH, _HEIGHT, "Scale-out", said, *drawn)
