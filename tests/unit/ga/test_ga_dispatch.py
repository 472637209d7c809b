"""Scheduling on a cluster that exists only here: a simulated fleet, and its own time."""

from __future__ import annotations

import itertools
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ga.backtest.panel import Panel
from ga.evaluation.evaluate import evaluate_batch
from ga.evaluation.folds import visible
from ga.execution.protocol import SuspendAwareClock, warmup_genomes
from ga.execution.ray import remote
from ga.execution.ray.dispatcher import BatchFailure
from ga.sources import synthetic
from tests.support.simulated_fleet import PATIENCE, Fleet, genomes, run


@settings(max_examples=60)
@given(
    count=st.integers(1, 300),
    slots=st.lists(st.integers(1, 3), min_size=2, max_size=5),
    seed=st.integers(0, 10_000),
    data=st.data(),
)
def test_every_genome_is_answered_once_despite_faults(count, slots, seed, data):
    fleet = Fleet({f"n{i}": s for i, s in enumerate(slots)}, seed=seed)
    group = genomes(count)
    some = st.sets(st.sampled_from(group), max_size=3)
    fleet.crash, fleet.hang, fleet.deadly = (data.draw(some) for _ in range(3))
    fleet.stuck_leases = data.draw(st.integers(0, 2))
    # One node stays: without any the cluster counts as lost, which is another test.
    fleet.lost_after = [
        (data.draw(st.floats(0.0, 3.0)), f"n{i}") for i in range(1, len(slots)) if i % 2
    ]
    found = run(fleet, group)
    bad = fleet.crash | fleet.hang | fleet.deadly
    assert {group[i] for i, outcome in found.items() if outcome.fitness is None} == bad


def test_without_faults_each_batch_starts_once():
    fleet = Fleet({"a": 1, "b": 2})
    run(fleet, genomes(500))
    assert sum(len(flight.group) for flight in fleet.launched) == 500
    assert not any(flight.apart for flight in fleet.launched)
    assert fleet.cancelled == []
    # Twice the slots, twice the work.
    share = sum(len(f.group) for f in fleet.launched if f.node == "b") / 500
    assert 0.55 < share < 0.78


def test_last_batches_go_to_free_slots():
    """A second batch beside the one that runs, until there are as many left as slots."""
    fleet = Fleet({"a": 1, "b": 2})
    run(fleet, genomes(500))
    flights, beside, waited = fleet.launched, [], []
    for number, flight in enumerate(flights):
        waits = sum(f.ends_at > flight.since for f in flights[:number] if f.node == flight.node)
        left = len(flights) - number
        (beside if left > 3 else waited).append(waits >= fleet.slots[flight.node])
    assert len(waited) == 3
    assert not any(waited)
    assert any(beside)
    # Nobody but a slot that is alone could take its next: no round trip is saved up for.
    alone = Fleet({"a": 1})
    run(alone, genomes(500))
    last, before = alone.launched[-1], alone.launched[-2]
    assert last.since < before.ends_at


def test_lost_nodes_never_quarantine_a_genome():
    fleet = Fleet({f"n{i}": 1 for i in range(8)}, each=1.0)
    fleet.lost_after = [(0.3 * (i + 1), f"n{i}") for i in range(7)]
    found = run(fleet, genomes(1))
    assert found[0].fitness == 0.0
    assert not any(flight.apart for flight in fleet.launched)


def test_crash_on_lost_node_is_not_counted():
    """Alone it cost three workers; two of their nodes were gone soon after."""

    class Dying(Fleet):
        def result(self, handle):
            flight = self.flights[handle]
            if flight.apart and len(self.slots) > 1:
                del self.slots[flight.node]
            return flight.reply

        def fate(self, group, node, apart):
            if apart and len(self.slots) > 1:
                return BatchFailure.CRASHED, 0.1
            return super().fate(group, node, apart)

    fleet = Dying({f"n{i}": 1 for i in range(6)})
    fleet.crash = {genomes(1)[0]}
    found = run(fleet, genomes(1))
    assert found[0].error == "alone it failed"


def test_genome_that_kills_three_workers_is_quarantined():
    fleet = Fleet({"a": 1, "b": 1})
    fleet.deadly = {genomes(40)[17]}
    found = run(fleet, genomes(40))
    assert found[17].error == "crashed its worker 3 times (and its node's)"
    alone = [f for f in fleet.launched if f.apart and f.group == [genomes(40)[17]]]
    assert len(alone) == 3


@pytest.mark.parametrize("times", [1, 6, 12])
def test_memory_shortage_of_nodes_quarantines_nothing(times):
    fleet = Fleet({"a": 1, "b": 1})
    fleet.short_of_memory = times
    found = run(fleet, genomes(1))
    assert found[0].fitness == 0.0


def test_permanent_memory_shortage_ends_the_run():
    fleet = Fleet({"a": 1, "b": 1})
    fleet.short_of_memory = 1000
    with pytest.raises(RuntimeError, match="a batch was started 20 times"):
        run(fleet, genomes(1))


def test_hanging_batch_is_cancelled_by_force():
    fleet = Fleet({f"n{i}": 1 for i in range(6)})
    fleet.hang = {genomes(60)[3]}
    found = run(fleet, genomes(60))
    assert found[3].error == "alone it failed"
    hung = [f for f in fleet.launched if not f.apart and fleet.hang & set(f.group)]
    assert 1 <= len(hung) <= 3
    assert sum(force for _, force in fleet.cancelled) >= len(hung)
    assert fleet.now < 4 * PATIENCE


def test_stuck_lease_is_overtaken_by_duplicate():
    fleet = Fleet({"a": 1, "b": 1})
    fleet.stuck_leases = 1
    run(fleet, genomes(30))
    assert 8.0 < fleet.now < 12.0
    assert not any(flight.apart for flight in fleet.launched)


def test_stuck_leases_in_all_slots_are_overtaken():
    fleet = Fleet({"a": 1, "b": 1}, each=0.001)
    wait, fates = fleet.wait, []

    def stick_at_the_end(handles, seconds):
        # As soon as there is no more in anybody's hands than what runs, it never ends.
        if not fates and len(handles) == 2 and len(fleet.launched) > 4:
            fates.append(fleet.now)
            for handle in handles:
                fleet.flights[handle].ends_at = float("inf")
        return wait(handles, seconds)

    fleet.wait = stick_at_the_end
    found = run(fleet, genomes(400))
    assert fates
    assert all(outcome.fitness is not None for outcome in found.values())
    assert not any(flight.apart for flight in fleet.launched)
    assert fleet.now - fates[0] < 20.0


def test_late_result_of_duplicated_batch_is_ignored():
    class Slow(Fleet):
        """The first batch takes 20 s and its copy 6 s, the second and its copies 50 s."""

        def fate(self, group, node, _apart):
            return self._answer(group, node), next(seconds)

    seconds = itertools.chain([20.0, 50.0, 6.0], itertools.repeat(50.0))
    fleet = Slow({"a": 1, "b": 1})
    run(fleet, genomes(30))
    assert len(fleet.launched[0].group) == 15
    assert fleet.launched[2].group == fleet.launched[0].group
    assert fleet.now == pytest.approx(50.0)


def test_only_present_nodes_get_work():
    class Growing(Fleet):
        def nodes(self):
            if self.now > 1.0:
                self.slots["late"] = 2
                self.slots.pop("early", None)
            return dict(self.slots)

    fleet = Growing({"early": 1, "stays": 1})
    run(fleet, genomes(3000))
    late = [f for f in fleet.launched if f.since > 1.0]
    assert {f.node for f in late} == {"late", "stays"}


def test_absence_of_nodes_ends_after_a_minute():
    fleet, beats = Fleet({}), []
    with pytest.raises(TimeoutError, match="no worker node for 60 s"):
        run(fleet, genomes(3), beat=lambda: beats.append(fleet.now))
    assert 60.0 < fleet.now < 61.0
    assert max(np.diff(beats)) < 1.0


def test_permanently_lost_batch_ends_the_run():
    class Cursed(Fleet):
        def fate(self, *_):
            return BatchFailure.LOST, 0.1

    with pytest.raises(RuntimeError, match="never came back"):
        run(Cursed({"a": 1}), genomes(1))


def test_suspended_time_counts_as_one_second():
    now = [100.0]
    clock = SuspendAwareClock(lambda: now[0])
    for step in (0.2, 0.3, 3600.0, 0.5):
        now[0] += step
        seconds = clock()
    assert seconds == pytest.approx(2.0)


def test_market_and_banks_are_loaded_once_per_process(settings, monkeypatch):
    # Markets of its own: whatever this process has evaluated before, it has not fetched these.
    seen, other = (visible(synthetic(assets=2, bars=900, seed=n), settings) for n in (61, 62))
    store = {m.hash: pickle.dumps(m) for m in (seen, other)}
    fetched: list[str] = []
    built: list[str] = []
    bank = Panel.bank

    def fetch(reference):
        fetched.append(reference)
        return pickle.loads(store[reference])

    monkeypatch.setattr("ray.get", fetch)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.1")
    context = SimpleNamespace(get_node_id=lambda: "n")
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    monkeypatch.setattr(
        Panel,
        "bank",
        lambda self, name, build: bank(self, name, lambda p: built.append(name) or build(p)),
    )
    group = warmup_genomes(("nadaraya_watson", "rsi_filter"))

    def task(market):
        answer = remote.evaluate(remote.MarketRef(market.hash, market.hash), settings, group)
        assert answer.id == "n"
        return answer.results[0].batch.outcomes

    first, count = task(seen), len(built)
    assert count > 0
    assert task(seen) == first
    assert (fetched, len(built)) == ([seen.hash], count)
    # Never the banks of another market.
    assert task(other) == evaluate_batch(other, settings, group).outcomes
    assert task(seen) == first
