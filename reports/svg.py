"""Minimal SVG: elements with escaped attributes, scales, and ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape


def tag(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """An SVG element. Text is escaped; ``class_`` and ``stroke_width`` become SVG's names."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def picture(width: float, height: float, title: str, text: str, *children: Markup) -> Markup:
    """A drawing with a title and a description for screen readers."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", text),
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        **{"aria-label": f"{title}. {text}"},
    )


def ticks(top: float, count: int = 5) -> list[float]:
    """Round numbers from 0 to at least ``top``, in about ``count`` steps of 1, 2 or 5 × 10^n."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def path(points: Sequence[tuple[float, float]]) -> str:
    """A polyline's path data."""
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _plain(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
