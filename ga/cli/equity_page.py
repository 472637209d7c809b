"""Shows an equity curve in a terminal and on an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 960, 320, 64, 28
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


def page(
    title: str,
    genes: Mapping[str, float],
    times: NDArray[np.int64],
    curve: Floats,
    rows: Sequence[Mapping[str, object]],
    sharpe: Mapping[str, float | None],
) -> str:
    """One offline HTML page: Sharpe ratios by part, the curve, the table and the genes.

    Args:
        times: (T,) nanoseconds since the epoch. curve: (T,) equity. rows: dicts with equal keys.
    """
    parts = " · ".join(
        f"{part} {'-' if value is None else format(value, '.3f')}" for part, value in sharpe.items()
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in (rows[0] if rows else ()))
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows
    )
    listed = "".join(f"<tr><th>{escape(k)}</th><td>{v:.6g}</td></tr>" for k, v in genes.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>Annualised net Sharpe ratio: {escape(parts)}</p>"
        f"{_chart(times, curve)}<div class=wide><table><tr>{head}</tr>{body}</table></div>"
        f"<h2>Genes</h2><table>{listed}</table></html>\n"
    )


def _chart(times: NDArray[np.int64], curve: Floats) -> str:
    at = np.unique(np.linspace(0, len(curve) - 1, min(960, len(curve))).astype(np.int64))
    low, high = float(curve.min()), float(curve.max())
    span = high - low if high > low else 1.0
    x = _LEFT + (_WIDTH - _LEFT) * at / max(len(curve) - 1, 1)
    y = (_HEIGHT - _BOTTOM) - (_HEIGHT - _BOTTOM - 12) * (curve[at] - low) / span
    points = "L".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    marks = []
    for value in np.linspace(low, high, 4):
        level = (_HEIGHT - _BOTTOM) - (_HEIGHT - _BOTTOM - 12) * (value - low) / span
        marks.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{level:.1f}" y2="{level:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{level + 4:.1f}" text-anchor="end">{value:.3g}</text>'
        )
    ends = [
        datetime.fromtimestamp(int(t) // 10**9, UTC).strftime("%Y-%m-%d") for t in times[[0, -1]]
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Equity over time">'
        f'{"".join(marks)}<path d="M{points}"/>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{ends[0]}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{ends[-1]}</text></svg>'
    )
