"""Sets of integers as spans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ga.sources import intervals

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def _numbers(some):
    return {n for low, high in some for n in range(low, high)}


@given(SPANS, SPANS, st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_spans_behave_like_sets_of_integers(one, other, asked):
    assert _numbers(intervals.union(one)) == _numbers(one)
    assert _numbers(intervals.overlap(one, other)) == _numbers(one) & _numbers(other)
    assert _numbers(intervals.missing(asked, one)) == _numbers([asked]) - _numbers(one)
    assert intervals.length(one) == len(_numbers(one))
    for made in (
        intervals.union(one),
        intervals.overlap(one, other),
        intervals.missing(asked, one),
    ):
        edges = [edge for span in made for edge in span]
        assert edges == sorted(set(edges))
