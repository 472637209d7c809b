"""``--mode auto``: the faster one is chosen by measured numbers, and they are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga.errors import ClusterError
from ga.evolution import Plan
from ga.execution import auto


class Timed:
    """Evaluates nothing, in ``fixed + each * n`` seconds of a clock of its own."""

    def __init__(self, clock: list[float], *, fixed: float, each: float, lost: bool = False):
        self._clock, self._fixed, self._each, self._lost = clock, fixed, each, lost
        self.workers = 4
        self.closed = False

    def warm_up(self) -> None:
        if self._lost:
            raise ClusterError("cluster lost: planted")
        self._clock[0] += 3.0

    def evaluate(self, genomes):
        self._clock[0] += self._fixed + self._each * len(genomes)
        yield from ()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(auto.time, "perf_counter", lambda: now[0])
    return now


def decide(here: Timed, there: Timed, size: int):
    return auto.choose(
        lambda: here, lambda: there, Plan(seed=0, population_size=size, generations=1)
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [(20, "local"), (90, "local"), (110, "distributed"), (5000, "distributed")],
)
def test_faster_cluster_wins_above_break_even_size(clock, size, expected):
    """2 ms each here against 150 ms + 0.5 ms each there: equal at 100 genomes."""
    here = Timed(clock, fixed=0.0, each=0.002)
    there = Timed(clock, fixed=0.15, each=0.0005)
    choice = decide(here, there, size)
    chosen, other = (there, here) if expected == "distributed" else (here, there)
    assert choice.evaluator is chosen
    assert (chosen.closed, other.closed) == (False, True)
    assert choice.reason.startswith(f"{expected}: ")
    assert f"cluster {0.15 + 0.0005 * size:.3f} s a generation of {size}" in choice.reason
    assert f"here {0.002 * size:.3f} s a generation of {size}" in choice.reason
    assert "(150.0 ms and 500 us a genome, 4 slots)" in choice.reason
    assert set(choice.costs) == {"distributed", "local"}
    assert choice.costs["distributed"].generation(size) == pytest.approx(0.15 + 0.0005 * size)
    assert choice.costs["local"].each == pytest.approx(0.002)


def test_cluster_lost_while_measured_is_not_chosen(clock):
    here = Timed(clock, fixed=0.0, each=1.0)
    there = Timed(clock, fixed=0.0, each=0.001, lost=True)
    choice = decide(here, there, 100)
    assert choice.evaluator is here
    assert choice.reason == "local: cluster lost: planted"
    assert choice.costs == {}
    assert there.closed


@given(fixed=st.floats(0.0, 10.0), each=st.floats(1e-6, 0.1))
def test_measured_cost_recovers_fixed_and_variable_part(fixed, each):
    now = [0.0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto.time, "perf_counter", lambda: now[0])
        cost = auto.measure(Timed(now, fixed=fixed, each=each), [None] * 256)
    assert cost.fixed == pytest.approx(fixed, abs=1e-6)
    assert cost.each == pytest.approx(each, rel=1e-3, abs=1e-9)
