"""The normal distribution, with the same bits on every processor."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Final

_DIGITS: Final = 50


def normal_cdf(x: float) -> float:
    """Probability that a standard normal number is at most x. The result is the nearest double, or
    in a few of a million cases one of the two nearest.

    1/2 + phi(x) (x + x^3/3 + x^5/(3 5) + ...), in decimals (Marsaglia, 2004, eq. 1).
    """
    if x != x:
        return x
    if abs(x) > 39.0:
        return 0.0 if x < 0.0 else 1.0
    return float(_cdf(Decimal(x)))


def normal_quantile(probability: float) -> float:
    """The x at which ``normal_cdf`` is ``probability``, by Newton's method in decimals; infinite at
    0 and 1.

    Raises:
        ValueError: not a probability.
    """
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"a probability is 0..1, not {probability}")
    if probability in (0.0, 1.0):
        return float("-inf") if probability == 0.0 else float("inf")
    with localcontext() as context:
        context.prec = _DIGITS
        wanted = Decimal(probability)
        upper = wanted > Decimal("0.5")
        wanted = 1 - wanted if upper else wanted
        # Start to the right of the root of a convex function, so that the steps converge from one
        # side.
        x = Decimal(0)
        for _ in range(1000):
            step = (_cdf(x) - wanted) / _density(x)
            x -= step
            if abs(step) < Decimal("1e-25"):
                break
        return float(-x if upper else x)


def _density(x: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = _DIGITS
        return (-x * x / 2).exp() / (2 * _pi(_DIGITS)).sqrt()


def _cdf(x: Decimal) -> Decimal:
    with localcontext() as context:
        # In the lower tail all digits of 1/2 cancel, and the result has 50 more.
        context.prec = _DIGITS + int(x * x / 4)
        term = found = x
        odd = 1
        while abs(term) > abs(found) * Decimal(10) ** -context.prec:
            odd += 2
            term = term * x * x / odd
            found += term
        scale = (-x * x / 2).exp() / (2 * _pi(context.prec)).sqrt()
        return Decimal("0.5") + scale * found


@lru_cache
def _pi(digits: int) -> Decimal:
    """pi to a number of digits (Machin, 1706): 16 arctan(1/5) - 4 arctan(1/239)."""
    with localcontext() as context:
        context.prec = digits + 10

        def arctan(inverse: int) -> Decimal:
            term = found = Decimal(1) / inverse
            odd, sign = 1, 1
            while term > Decimal(10) ** -context.prec:
                term /= inverse * inverse
                odd, sign = odd + 2, -sign
                found += sign * term / odd
            return found

        return 16 * arctan(5) - 4 * arctan(239)
