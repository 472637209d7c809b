"""Draws curves in a terminal and on an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 960, 320, 64, 28, 12
STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #0b62a8; --rule: #d0d7de }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #6cb6ff; --rule: #30363d } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto } svg text { fill: var(--ink); font-size: 12px }
path { fill: none; stroke: var(--line); stroke-width: 1.5 } line { stroke: var(--rule) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .75rem; border-bottom: 1px solid var(--rule); text-align: left }
"""


def sparkline(values: Floats, width: int = 72) -> str:
    """Values (T,) as one line of block characters."""
    at = np.linspace(0, len(values) - 1, min(width, len(values))).astype(np.int64)
    shown = values[at]
    low, high = float(shown.min()), float(shown.max())
    span = high - low if high > low else 1.0
    return "".join(_BARS[int((v - low) / span * (len(_BARS) - 1))] for v in shown.tolist())


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart."""

    name: str
    values: Floats
    """(T,); NaN where there is none."""
    kind: str
    """Its CSS class: ``strategy``, ``first`` or ``second``."""


def chart(
    label: str,
    times: NDArray[np.int64],
    lines: Sequence[Line],
    *,
    unit: str = "",
    shaded: tuple[int, int] | None = None,
) -> str:
    """Lines over time as SVG, with a key.

    Args:
        times: (T,) nanoseconds since the epoch. unit: format of the marks, ``%`` or empty.
        shaded: range of bars that is shaded.
    """
    size = len(times)
    finite = np.concatenate([line.values[np.isfinite(line.values)] for line in lines])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    span = high - low if high > low else 1.0
    plot = _HEIGHT - _BOTTOM - _TOP

    def x(bar: float) -> float:
        return _LEFT + (_WIDTH - _LEFT) * bar / max(size - 1, 1)

    def y(value: float) -> float:
        return _TOP + plot * (1.0 - (value - low) / span)

    at = np.unique(np.linspace(0, size - 1, min(960, size)).astype(np.int64)).tolist()
    drawn: list[str] = []
    for line in lines:
        points = [f"{x(i):.1f},{y(float(line.values[i])):.1f}" for i in at if
                  np.isfinite(line.values[i])]  # fmt: skip
        if points:
            # The first line is drawn last, on top of the others.
            drawn.insert(0, f'<path class="{line.kind}" d="M{"L".join(points)}"/>')
    if shaded is not None:
        left, right = x(shaded[0]), x(shaded[1] - 1)
        drawn.insert(
            0,
            f'<rect class="shaded" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}"'
            f' height="{plot}"/>',
        )
    marks = [
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">'
        f"{format(v, '.1%' if unit else '.3g')}</text>"
        for v in np.linspace(low, high, 4).tolist()
    ]
    names = "".join(f'<span class="key {line.kind}"></span>{escape(line.name)}' for line in lines)
    ends = [
        datetime.fromtimestamp(int(t) // 10**9, UTC).strftime("%Y-%m-%d") for t in times[[0, -1]]
    ]
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(marks)}{''.join(drawn)}"
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{ends[0]}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{ends[-1]}</text></svg>'
        f"<figcaption>{names}</figcaption></figure>"
    )


def html_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows, which are dicts with equal keys, as an HTML table."""
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
