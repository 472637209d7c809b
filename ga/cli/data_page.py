"""The page of ``data check``: one offline HTML file with a chart of each asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np

from ga.cli.data_rows import Check, gap_rows, reading_rows, suspect_rows
from ga.cli.equity_page import STYLE
from ga.sources.epochs import stamp

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 960, 320, 64, 28, 12
_POINTS: Final = 900
_ROWS: Final = 500
_MARKS: Final = """
.gap { fill: #d29922; opacity: .35 } .flat { fill: #8250df; opacity: .3 }
.spike, .split, .year { fill: #cf222e } .warning { color: #9a6700 }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em }
"""
_KEY: Final = (
    ("#d29922", "gap"),
    ("#8250df", "flat stretch"),
    ("#cf222e", "spike, split or odd year"),
)


def page(title: str, checks: Sequence[Check]) -> str:
    """One page with how each asset was read, its closes with marks, gaps and suspicious bars."""
    parts = []
    for check in checks:
        series = check.series
        notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in series.notes)
        parts.append(
            f"<h2>{escape(series.asset)}</h2>{_table([check.summary()])}{notes}{_chart(check)}"
            f"<h3>How it was read</h3>{''.join(_table(reading_rows(r)) for r in check.readings)}"
            f"<h3>Gaps</h3>{_table(gap_rows(check))}"
            f"<h3>Bars that may be wrong</h3>{_table(suspect_rows(check))}"
        )
    key = "".join(f'<span class="key" style="background:{c}"></span>{name}' for c, name in _KEY)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}{_MARKS}</style>'
        f"<h1>Data check of {escape(title)}</h1><p>Closing prices; marked:{key}</p>"
        f"{''.join(parts)}</html>\n"
    )


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row.values()) + "</tr>"
        for row in rows[:_ROWS]
    )
    more = f"<p>and {len(rows) - _ROWS:,} more</p>" if len(rows) > _ROWS else ""
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>{more}'


def _chart(check: Check) -> str:
    """Closes over time: the extremes of each point's bars, so that no spike is lost."""
    times, close = check.series.times, check.series.close
    first, last = int(times[0]), int(times[-1])
    low, high = float(close.min()), float(close.max())
    span = high - low if high > low else 1.0
    plot = _HEIGHT - _BOTTOM - _TOP

    def x(time: int) -> float:
        return _LEFT + (_WIDTH - _LEFT) * (time - first) / (last - first)

    def y(value: float) -> float:
        return _TOP + plot * (1 - (value - low) / span)

    points = []
    for part in np.array_split(np.arange(close.size), min(_POINTS, close.size)):
        ends = sorted({int(part[np.argmin(close[part])]), int(part[np.argmax(close[part])])})
        points += [f"{x(int(times[i])):.1f},{y(float(close[i])):.1f}" for i in ends]
    marks = [_band("gap", x(gap.after), x(gap.before)) for gap in check.gaps[:_ROWS]]
    for suspect in check.suspects[:_ROWS]:
        at = int(np.searchsorted(times, suspect.first))
        if suspect.kind == "flat":
            end = min(at + suspect.bars, close.size - 1)
            marks.append(_band("flat", x(suspect.first), x(int(times[end]))))
        else:
            circle = f'cx="{x(suspect.first):.1f}" cy="{y(float(close[at])):.1f}" r="4"'
            marks.append(f'<circle class="{suspect.kind}" {circle}/>')
    scale = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.5g}</text>'
        for v in np.linspace(low, high, 4).tolist()
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Closes over time">'
        f'{scale}<path d="M{"L".join(points)}"/>{"".join(marks)}'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{stamp(first)}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{stamp(last)}</text></svg>'
    )


def _band(kind: str, left: float, right: float) -> str:
    return (
        f'<rect class="{kind}" x="{left:.1f}" y="{_TOP}" width="{max(right - left, 1):.1f}"'
        f' height="{_HEIGHT - _BOTTOM - _TOP}"/>'
    )
