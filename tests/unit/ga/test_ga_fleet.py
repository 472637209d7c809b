"""The worker nodes of a cluster: which get work, as they join, are checked, fail and leave."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import ray.exceptions

from ga.errors import ClusterError
from ga.evaluation.settings import Settings
from ga.execution import numerics_check
from ga.execution.numerics_check import Proof
from ga.execution.protocol import NodeReport
from ga.execution.ray import fleet as fleet_module
from ga.execution.ray import remote
from ga.execution.ray.dispatcher import BatchFailure
from ga.execution.ray.fleet import RayFleet
from ga.execution.ray.messages import DriverSpec
from ga.market import Market

ONE, TWO = "1" * 56, "2" * 56
"""Nodes, by the ids that Ray requires."""


class Task:
    """A remote function whose tasks are told to ``begun`` with the node that they are for."""

    def __init__(self, begun: Callable[[str], str]) -> None:
        self._begun = begun

    def options(self, *, scheduling_strategy) -> SimpleNamespace:
        node = scheduling_strategy.node_id
        return SimpleNamespace(remote=lambda *_: self._begun(node))


class Ray:
    """As much of Ray as a fleet asks: live nodes, and tasks that end as they are told."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class OutOfMemoryError(RayError):
            pass

        class WorkerCrashedError(RayError):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause: Exception) -> None:
                self.cause = cause

    def __init__(self) -> None:
        self.live: list[str] = []
        self.tasks: list[str] = []
        self.ended: dict[str, object] = {}
        """Task -> its result, or an error."""

    def nodes(self) -> list[dict[str, object]]:
        known = {"Resources": {"CPU": 1.0}, "Alive": True}
        return [{**known, "NodeID": n, "NodeManagerAddress": f"10.0.0.{n[0]}"} for n in self.live]

    def put(self, value: object) -> object:
        return value

    def remote(self, **_: object) -> Callable[[object], Task]:
        return lambda _: Task(self._begin)

    def _begin(self, node: str) -> str:
        self.tasks.append(f"{node[0]}-{len(self.tasks)}")
        return self.tasks[-1]

    def wait(self, refs: list[str], **_: object) -> tuple[list[str], list[str]]:
        return [r for r in refs if r in self.ended], [r for r in refs if r not in self.ended]

    def get(self, ref: str) -> object:
        found = self.ended[ref]
        if isinstance(found, Exception):
            raise found
        return found


class Cluster:
    """A fleet on ``Ray``, with a clock of its own."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, market: Market, workers: int | None = None
    ) -> None:
        self.now, self.ray, self.told = 100.0, Ray(), []
        monkeypatch.setattr(fleet_module.time, "monotonic", lambda: self.now)
        spec = DriverSpec(
            address=None,
            workers=workers,
            market=market,
            settings=Settings(),
            families=("ema_crossover",),
        )
        self.fleet = RayFleet(spec, self.told.append, ray=self.ray)

    def after(self, seconds: float) -> dict[str, int]:
        self.now += seconds
        return dict(self.fleet.nodes())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, market: Market) -> Cluster:
    return Cluster(monkeypatch, market)


RIGHT = numerics_check.expected(("ema_crossover",))
WRONG = Proof(processor="odd", kernel_version=RIGHT.kernel_version, digests={"ema_crossover": "?"})
OLD = Proof(processor="good", kernel_version=3, digests=RIGHT.digests)


def test_node_gets_work_after_numerics_check(cluster):
    cluster.ray.live = [ONE]
    assert cluster.after(0.0) == {}
    assert cluster.after(29.0) == {}
    cluster.ray.ended["1-0"] = (ONE, RIGHT)
    assert cluster.after(2.0) == {ONE: 1}
    (report,) = cluster.told
    assert report == NodeReport(
        id=ONE,
        node="10.0.0.1",
        processor=RIGHT.processor,
        kernel_version=RIGHT.kernel_version,
        digest=RIGHT.digest,
        refused=None,
    )


@pytest.mark.parametrize(
    ("came_to", "reason"),
    [
        ((ONE, WRONG), "compute ema_crossover to other bits"),
        ((ONE, OLD), "kernels of version 3, not"),
        (Ray.exceptions.RayTaskError(ImportError("no module ga")), "ImportError: no module ga"),
    ],
)
def test_node_with_failed_check_is_refused(cluster, came_to, reason):
    cluster.ray.live = [ONE, TWO]
    cluster.after(0.0)
    cluster.ray.ended |= {"1-0": came_to, "2-1": (TWO, RIGHT)}
    assert cluster.after(2.0) == {TWO: 1}
    assert cluster.after(3600.0) == {TWO: 1}
    # It is not tried again, and nobody waits for it.
    assert cluster.ray.tasks == ["1-0", "2-1"]
    assert not cluster.fleet.warming
    refused = [one for one in cluster.told if one.refused is not None]
    assert [one.node for one in refused] == ["10.0.0.1"]
    assert reason in refused[0].refused
    assert cluster.fleet.refused == ["10.0.0.1"]


@pytest.mark.parametrize("first", ["1-0", "1-1"])
def test_slow_warm_up_is_restarted(cluster, first):
    cluster.ray.live = [ONE]
    cluster.after(0.0)
    assert cluster.after(31.0) == {}
    assert cluster.ray.tasks == ["1-0", "1-1"]
    cluster.ray.ended[first] = (ONE, RIGHT)
    assert cluster.after(2.0) == {}
    # The other one never ends.
    assert cluster.after(31.0) == {ONE: 1}


def test_lost_or_misplaced_warm_up_is_repeated(cluster):
    cluster.ray.live = [ONE]
    cluster.after(0.0)
    cluster.ray.ended["1-0"] = (TWO, RIGHT)
    assert cluster.after(2.0) == {}
    cluster.ray.ended["1-1"] = Ray.exceptions.RayError("its worker died")
    assert cluster.after(2.0) == {}
    assert cluster.told == []
    cluster.ray.ended["1-2"] = (ONE, RIGHT)
    assert cluster.after(2.0) == {ONE: 1}


def test_repeated_worker_deaths_refuse_the_node(cluster):
    cluster.ray.live = [ONE]
    for number in range(3):
        cluster.after(2.0)
        cluster.ray.ended[f"1-{number}"] = Ray.exceptions.RayError("its worker died")
    assert cluster.after(2.0) == {}
    assert len(cluster.ray.tasks) == 3
    assert "died 3 times while they loaded" in cluster.told[-1].refused


def test_unfetchable_market_does_not_refuse_node(cluster):
    cluster.ray.live = [ONE]
    cluster.after(0.0)
    lost = Ray.exceptions.RayTaskError(Ray.exceptions.RayError("object lost"))
    cluster.ray.ended["1-0"] = lost
    cluster.after(2.0)
    cluster.ray.ended["1-1"] = (ONE, RIGHT)
    assert cluster.after(2.0) == {ONE: 1}


def test_refused_node_takes_no_worker_slots(monkeypatch, market):
    cluster = Cluster(monkeypatch, market, workers=1)
    cluster.ray.live = [ONE, TWO]
    cluster.after(0.0)
    cluster.ray.ended["1-0"] = (ONE, WRONG)
    cluster.after(2.0)
    cluster.after(2.0)
    cluster.ray.ended["2-1"] = (TWO, RIGHT)
    assert cluster.after(2.0) == {TWO: 1}


def test_one_deviating_process_refuses_its_node(cluster):
    cluster.ray.live = [ONE]
    cluster.ray.nodes = lambda: [
        {"NodeID": ONE, "Alive": True, "Resources": {"CPU": 2.0}, "NodeManagerAddress": "10.0.0.1"}
    ]
    cluster.after(0.0)
    cluster.ray.ended |= {"1-0": (ONE, RIGHT), "1-1": (ONE, WRONG)}
    assert cluster.after(2.0) == {}
    assert [one.refused is None for one in cluster.told] == [True, False]


def test_node_that_fails_later_is_refused(cluster):
    cluster.ray.live = [ONE, TWO]
    cluster.after(0.0)
    cluster.ray.ended |= {"1-0": (ONE, RIGHT), "2-1": (TWO, RIGHT)}
    assert cluster.after(2.0) == {ONE: 1, TWO: 1}
    cluster.ray.ended["batch"] = remote.Unfit(id=ONE, reason="its disk is full")
    assert cluster.fleet.result("batch") is BatchFailure.LOST
    assert cluster.after(0.0) == {TWO: 1}
    assert cluster.told[-1].refused == "its disk is full"
    # What runs elsewhere than it was meant to counts only from a node that may have work.
    for id, became in ((ONE, BatchFailure.LOST), ("stranger", BatchFailure.LOST), (TWO, ("done",))):
        cluster.ray.ended["batch"] = remote.Answer(id=id, results=("done",))
        assert cluster.fleet.result("batch") == became
    cluster.ray.ended["batch"] = remote.Unfit(id="stranger", reason="x")
    assert cluster.fleet.result("batch") is BatchFailure.LOST


@pytest.mark.parametrize(
    "cause",
    [ray.exceptions.ObjectLostError("00" * 28, None, ""), ClusterError("no process")],
)
def test_batch_without_market_or_process_is_lost(cluster, cause):
    cluster.ray.exceptions = ray.exceptions
    cluster.ray.ended["batch"] = ray.exceptions.RayTaskError("evaluate", "traceback", cause)
    assert cluster.fleet.result("batch") is BatchFailure.LOST


def test_internal_error_of_task_propagates(cluster):
    cluster.ray.exceptions = ray.exceptions
    error = ray.exceptions.RayTaskError("evaluate", "traceback", ValueError("ours"))
    cluster.ray.ended["batch"] = error
    with pytest.raises(ray.exceptions.RayTaskError):
        cluster.fleet.result("batch")
