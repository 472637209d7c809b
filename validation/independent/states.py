"""From conditions at each close to positions, bar by bar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from validation.independent.prices import Floats

Truths = NDArray[np.bool_]


def sides(
    start: int, enter_long: Truths, enter_short: Truths, leave_long: Truths, leave_short: Truths
) -> list[int]:
    """1, -1 or 0 at every bar: a side is held until its leave condition or the other's entry.

    An entry counts even where the side's leave condition holds. Nothing holds before ``start``.
    """
    out, side = [0] * len(enter_long), 0
    rows = zip(
        enter_long.tolist(),
        enter_short.tolist(),
        leave_long.tolist(),
        leave_short.tolist(),
        strict=True,
    )
    for t, (long, short, no_long, no_short) in enumerate(rows):
        if t < start:
            continue
        is_long = long or (side > 0 and not (short or no_long))
        is_short = short or (side < 0 and not (long or no_short))
        side = int(is_long) - int(is_short)
        out[t] = side
    return out


def sized(found: list[int], size: Callable[[int, int], float]) -> Floats:
    """Positions: ``size(bar, side)`` where the side changes, held until it changes again."""
    out, side, target = np.zeros(len(found)), 0, 0.0
    for t, now in enumerate(found):
        if now != side:
            side, target = now, now * size(t, now) if now else 0.0
        out[t] = target
    return out


def earlier(values: Floats, bars: int) -> Floats:
    """Each value ``bars`` bars before; NaN where there is none."""
    out = np.full(values.size, np.nan)
    out[bars:] = values[: values.size - bars]
    return out
