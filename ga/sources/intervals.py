"""Sets of half-open intervals of integers, sorted and disjoint: the times that a cache covers."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]
"""From the first number up to the second, exclusive."""


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union in as few intervals as possible."""
    merged: list[Span] = []
    for low, high in sorted(span for span in spans if span[0] < span[1]):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def overlap(one: Iterable[Span], other: Iterable[Span]) -> tuple[Span, ...]:
    """The intersection."""
    others = union(other)
    return union((max(a, c), min(b, d)) for a, b in one for c, d in others)


def missing(asked: Span, covered: Iterable[Span]) -> tuple[Span, ...]:
    """The numbers of ``asked`` that are not covered."""
    rest: list[Span] = []
    low, high = asked
    for start, stop in union(covered):
        if start >= high:
            break
        rest.append((low, start))
        low = max(low, stop)
    return union([*rest, (low, high)])


def length(spans: Iterable[Span]) -> int:
    """The number of integers."""
    return sum(high - low for low, high in union(spans))
