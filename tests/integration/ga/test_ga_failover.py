"""A run that loses its cluster continues on this machine, and returns to the cluster."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from ga.errors import ClusterError, InputError
from ga.execution.ray.reconnect import Reconnector
from tests.support.run_bench import Bench, Fake, undisturbed_digest
from tests.support.waiting import wait_until


@pytest.fixture
def bench(market, settings, tmp_path) -> Bench:
    return Bench(market, settings, tmp_path)


@pytest.fixture(scope="module")
def digest(market, settings) -> str:
    return undisturbed_digest(market, settings)


@pytest.mark.parametrize("lose_after", [0, 1, 4, 9, 15])
def test_failover_keeps_history(bench, digest, lose_after, tmp_path):
    cluster, log = bench.fake(lose_after=lose_after), tmp_path / "log.jsonl"
    summary = bench.go(cluster, log=log)
    assert summary.digest == digest
    assert (summary.fallbacks, summary.mode) == (1, "local")
    assert bench.fallbacks == ["planted: lost"]
    assert cluster.closed
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["reason"] for e in events if e["event"] == "fallback"] == ["planted: lost"]
    assert sum(e["event"] == "generation" for e in events) == 4
    # What the cluster had answered is not done again.
    assert sum(e["size"] for e in events if e["event"] == "batch") == summary.evaluations


class Comeback:
    """The next clusters that can be reached; every report of progress waits until one is ready."""

    def __init__(self, *clusters: Fake) -> None:
        self._clusters = list(clusters)
        self.standbys: list[Reconnector] = []

    def __call__(self) -> Reconnector:
        self.standbys.append(Reconnector(self._connect, first=0.01, last=0.04))
        return self.standbys[-1]

    def _connect(self) -> Fake:
        if not self._clusters:
            raise InputError("--address: no Ray cluster answers there")
        return self._clusters.pop(0)

    def wait(self, _: object = None) -> None:
        if self._clusters and self.standbys:
            standby = self.standbys[-1]
            wait_until(
                lambda: not standby.trying, seconds=10, what="a cluster is ready", every=0.001
            )


@pytest.mark.parametrize("lose_after", [0, 3, 9])
def test_failback_keeps_history(bench, digest, lose_after, tmp_path):
    lost, back, log = bench.fake(lose_after=lose_after), bench.fake(seed=7), tmp_path / "log.jsonl"
    comeback = Comeback(bench.fake(never_starts=True), back)
    summary = bench.go(lost, log=log, stand_by=comeback, on=comeback.wait)
    assert summary.digest == digest
    assert (summary.fallbacks, summary.failbacks, summary.mode) == (1, 1, "distributed")
    assert lost.closed
    assert bench.locals[0].closed
    assert back.asked
    events = [json.loads(line) for line in log.read_text().splitlines()]
    kinds = [e["event"] for e in events if e["event"] in ("fallback", "takeback")]
    assert kinds == ["fallback", "takeback"]
    taken = next(e for e in events if e["event"] == "takeback")
    assert taken["tries"] == 2
    assert "cluster answered at try 2" in taken["reason"]
    # Nothing is taken twice: neither what the cluster had answered before, nor this machine.
    assert bench.counts()["evaluations"] == summary.evaluations
    assert sum(e["size"] for e in events if e["event"] == "batch") == summary.evaluations


def test_every_return_of_cluster_is_used(bench, digest):
    comeback = Comeback(*(bench.fake(lose_after=n, seed=n) for n in (1, 0, 50)))
    summary = bench.go(bench.fake(lose_after=2), stand_by=comeback, on=comeback.wait)
    assert summary.digest == digest
    assert (summary.fallbacks, summary.failbacks, summary.mode) == (3, 3, "distributed")


def test_run_does_not_wait_for_lost_cluster(bench, digest):
    comeback = Comeback()
    summary = bench.go(bench.fake(lose_after=2), stand_by=comeback)
    assert summary.digest == digest
    assert (summary.fallbacks, summary.failbacks, summary.mode) == (1, 0, "local")
    assert not comeback.standbys[0].trying


def test_cluster_that_never_starts_causes_failover(bench, digest):
    cluster = bench.fake(never_starts=True)
    summary = bench.go(cluster)
    assert summary.digest == digest
    assert (summary.fallbacks, cluster.asked) == (1, [])


def test_failure_of_local_evaluator_ends_run(bench):
    """There is nothing behind local mode: falling back to it again would go on for ever."""
    with pytest.raises(ClusterError, match="died 3 times"):
        bench.go(bench.fake(mode="local", lose_after=2, error=ClusterError("died 3 times")))
    assert bench.fallbacks == []
    assert bench.counts()["generations"] == 0


def test_cluster_ready_after_run_is_closed(bench):
    back = bench.fake()
    standby = Reconnector(lambda: back, first=0.01)
    wait_until(lambda: standby.ready, seconds=10, what="a cluster is ready", every=0.005)
    standby.close()
    assert back.closed


def test_reconnect_backs_off_and_stops_at_once():
    tries: list[float] = []

    def connect() -> Fake:
        tries.append(time.monotonic())
        raise ClusterError("planted: away")

    standby = Reconnector(connect, first=0.05, last=0.2)
    wait_until(lambda: len(tries) >= 6, seconds=10, what="six tries", every=0.01)
    standby.close()
    waits = np.diff(tries)[:5]
    assert all(waits >= np.array([0.1, 0.2, 0.2, 0.2, 0.2]) - 0.005)

    # Its first try would be in an hour.
    standby, tried = Reconnector(connect, first=3600.0), len(tries)
    closer = threading.Thread(target=standby.close, daemon=True)
    closer.start()
    closer.join(60.0)
    assert not closer.is_alive()
    assert not standby.trying
    assert len(tries) == tried


def test_returned_cluster_with_other_token_is_skipped(bench):
    back, refusals = bench.fake(), []

    class Refusing:
        def warm_up(self) -> None:
            raise InputError("planted: refuses this token")

        def close(self) -> None:
            refusals.append(self)

    standby = Reconnector(lambda: Refusing() if len(refusals) < 2 else back, first=0.01, last=0.01)
    wait_until(lambda: standby.ready, seconds=10, what="a cluster is ready", every=0.005)
    assert len(refusals) == 2
    standby.close()


def test_close_ends_cluster_that_is_starting():
    class Starting:
        begun = threading.Event()
        ended = threading.Event()

        def warm_up(self) -> None:
            self.begun.set()
            assert self.ended.wait(10.0), "nobody ended it"
            raise ClusterError("driver process died")

        def close(self) -> None:
            self.ended.set()

    standby = Reconnector(Starting, first=0.0)
    assert Starting.begun.wait(10.0)
    standby.close()
    assert not standby.trying
    assert Starting.ended.is_set()
