"""A fault of the machine is never the outcome of a genome, and never goes unseen."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ga.families
from ga.cli.main import main
from ga.errors import MachineError
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.evolution import Plan
from ga.execution import auto, numerics_check, pool, worker
from ga.execution.local import LocalEvaluator
from ga.execution.numerics_check import Proof
from ga.execution.pool import Pool
from ga.execution.protocol import NodeReport
from ga.execution.ray import fleet as fleet_module
from ga.execution.ray import remote
from ga.execution.ray.dispatcher import BatchFailure
from ga.families import get_family
from ga.genome import Genome
from ga.market import Market
from tests.support import poison
from tests.support.perturbed import (
    FailingSettings,
    HangingSettings,
    IllegalSettings,
    KilledSettings,
    PerturbedSettings,
)

GENOME = Genome("ema_crossover", (8.0, 25.0, 0.01, 0.5, 0.01))


@pytest.fixture(scope="module")
def seen(market: Market) -> Market:
    return visible(market, Settings(folds=3))


def planted(monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> None:
    """Have the family of ``GENOME`` raise these in turn, and work where there is None."""
    rule, left = get_family(GENOME.family), list(errors)

    def signals(*arguments: Any) -> None:
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        rule.signals(*arguments)

    changed = SimpleNamespace(genes=rule.genes, signals=signals)
    families = {**ga.families.FAMILIES, GENOME.family: changed}
    monkeypatch.setattr(ga.families, "FAMILIES", families)


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libm.so: no such file"),
        OSError(28, "No space left on device"),
        EOFError("ran out of input"),
        pickle.UnpicklingError("pickle data was truncated"),
        TypeError("can't unbox array"),
        RuntimeError("symbol not found"),
        SystemError("error return without exception set"),
    ],
)
def test_what_no_genome_can_cause_is_no_outcome(seen, monkeypatch, error):
    planted(monkeypatch, error)
    with pytest.raises(MachineError, match=f"ema_crossover cannot be .*{type(error).__name__}"):
        evaluate(seen, Settings(folds=3), [GENOME])


def test_a_family_that_is_not_known_here_is_no_outcome(seen):
    with pytest.raises(MachineError, match="unknown family 'astrology'"):
        evaluate(seen, Settings(folds=3), [Genome("astrology", (1.0,))])


@pytest.mark.parametrize("error", [ZeroDivisionError("planted"), ValueError("x"), IndexError("y")])
def test_what_a_genome_causes_is_its_outcome(seen, monkeypatch, error):
    planted(monkeypatch, *[error] * 9)
    monkeypatch.setattr(worker, "EXPECTED", {})
    batch = worker.work(seen, Settings(folds=3), [GENOME])
    assert batch.outcomes[0].error == f"{type(error).__name__}: {error}"


def test_a_failure_that_does_not_come_again_is_the_machine_s(seen, monkeypatch):
    planted(monkeypatch, ValueError("once"))
    monkeypatch.setattr(worker, "EXPECTED", {})
    with pytest.raises(MachineError, match=r"once.*a repetition gave another result"):
        worker.work(seen, Settings(folds=3), [GENOME])


def test_a_failure_on_a_machine_that_fails_its_check_is_the_machine_s(seen, monkeypatch):
    numerics_check.require(GENOME.family)
    planted(monkeypatch, *[ValueError("planted")] * 2)
    monkeypatch.setattr(worker, "EXPECTED", {GENOME.family: "another"})
    monkeypatch.setattr(worker, "digest", SimpleNamespace(__wrapped__=lambda _: "other bits"))
    with pytest.raises(MachineError, match="on a machine that fails its check"):
        worker.work(seen, Settings(folds=3), [GENOME])


def test_memory_that_the_machine_has_not_is_no_genome_s_fault(seen, monkeypatch):
    planted(monkeypatch, *[MemoryError()] * 9)
    monkeypatch.setattr(worker, "EXPECTED", {})
    outcome = worker.work(seen, Settings(folds=3), [GENOME]).outcomes[0]
    assert outcome.error == "out of memory"
    # Nobody can have so much: as under ``ulimit -d``, or where all is taken.
    monkeypatch.setattr(worker, "_MEMORY", 1 << 62)
    monkeypatch.setattr(worker, "_bounded", lambda _: closing(SimpleNamespace(close=lambda: None)))
    with pytest.raises(MachineError, match=r"cannot give an evaluation its .* MiB"):
        worker.work(seen, Settings(folds=3), [GENOME])


def test_a_pool_whose_workers_compute_other_bits_evaluates_nothing(seen):
    settings = PerturbedSettings(folds=3)
    genome = Genome("volatility_scaling", (20.0, 1.2, 0.5, 4.0, 0.5, 0.15, 0.02))
    with closing(Pool(market=seen, settings=settings, workers=1)) as workers:
        # Only the family that uses what is wrong gives other bits.
        (result,) = workers.run([GENOME], [(0,)])
        assert result.batch.outcomes[0].error is None
        with pytest.raises(MachineError, match="volatility_scaling to other bits"):
            list(workers.run([genome], [(0,)]))


def test_a_worker_whose_machine_fails_outside_an_evaluation_blames_no_genome(seen):
    with closing(Pool(market=seen, settings=FailingSettings(folds=3), workers=1)) as workers:
        with pytest.raises(MachineError, match=r"OSError: .*Input/output error"):
            list(workers.run([GENOME], [(0,)]))
        assert [one.outcome for one in workers.abandoned[0]] == ["withdrawn"]


@pytest.mark.parametrize(
    ("settings", "patience", "tries", "says"),
    [
        (KilledSettings, 600.0, ["crashed"] * 3, r"was killed 3 times \(SIGKILL\); free some mem"),
        (
            IllegalSettings,
            600.0,
            ["crashed"] * 4,
            r"3 times \(SIGILL\), and then a harmless one en",
        ),
        (HangingSettings, 1.0, ["hung"] * 3, r"longer than 1 s, and then a harmless one took lo"),
    ],
)
def test_workers_that_end_on_any_genome_blame_none(seen, settings, patience, tries, says):
    with closing(
        Pool(market=seen, settings=settings(folds=3), workers=1, patience=patience)
    ) as workers:
        with pytest.raises(MachineError, match=says):
            list(workers.run([GENOME], [(0,)]))
        assert [one.outcome for one in workers.abandoned[0]] == tries


def test_memory_that_the_kernel_takes_back_is_no_genome_s_fault(seen, monkeypatch):
    kills = itertools.count()
    monkeypatch.setattr(pool, "_oom_kills", lambda: next(kills))
    workers = Pool(market=seen, settings=KilledSettings(folds=3), workers=1)
    with closing(workers), pytest.raises(MachineError, match=r"3 times \(out of memory\)"):
        list(workers.run([GENOME], [(0,)]))


def test_a_coordinator_that_breeds_otherwise_leads_no_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(numerics_check, "EXPECTED_COORDINATOR", "another")
    store = f"sqlite:///{tmp_path}/run.db"
    assert main(["evolve", "--market", "synthetic", "--store", store]) == 1
    assert "this machine cannot lead a run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_auto_takes_the_cluster_where_this_machine_cannot_evaluate():
    def evaluator(error: Exception | None) -> Any:
        def warm_up() -> None:
            if error is not None:
                raise error

        closed: list[bool] = []
        return SimpleNamespace(
            warm_up=warm_up, evaluate=lambda _: (), close=lambda: closed.append(True), closed=closed
        )

    here, there = evaluator(MachineError("this machine gets no work: odd")), evaluator(None)
    plan = Plan(seed=1, population_size=300, generations=1)
    found = auto._measured(lambda: here, lambda: there, plan)
    assert found.evaluator is there
    assert found.reason == "distributed: this machine gets no work: odd"
    assert (here.closed, there.closed) == ([True], [])


def test_a_machine_that_computes_other_bits_is_not_warmed_up(seen):
    evaluator = LocalEvaluator(
        market=seen,
        settings=PerturbedSettings(folds=3),
        families=("ema_crossover", "volatility_scaling"),
        workers=1,
    )
    with (
        closing(evaluator),
        pytest.raises(MachineError, match=r"this machine gets no work: .* ga numerics"),
    ):
        evaluator.warm_up()
    (found,) = evaluator.nodes
    assert (found.node, found.digest) == ("local", "")
    assert "volatility_scaling to other bits" in found.refused


def test_a_machine_that_passes_is_reported_with_its_processor(seen):
    families = ("ema_crossover",)
    evaluator = LocalEvaluator(
        market=seen, settings=Settings(folds=3), families=families, workers=1
    )
    with closing(evaluator):
        evaluator.warm_up()
        (found,) = evaluator.nodes
    assert (found.node, found.refused) == ("local", None)
    assert found.processor == numerics_check.processor()
    assert found.digest == numerics_check.prove(families).digest


def test_a_harmless_genome_that_crashes_its_worker_is_the_machine_s_fault(
    seen, poisonous, monkeypatch
):
    monkeypatch.setattr(poison, "DEADLY", 0.0)
    deadly = [Genome("poison_crash", (0.9,))]
    monkeypatch.setattr("ga.execution.local.warmup_genomes", lambda _: deadly)
    evaluator = LocalEvaluator(
        market=seen, settings=poisonous, families=("poison_crash",), workers=1
    )
    with (
        closing(evaluator),
        pytest.raises(MachineError, match=r"cannot evaluate poison_crash: .* crashed its worker"),
    ):
        evaluator.warm_up()


# ---- nodes of a cluster ----


class Ray:
    """As much of Ray as a fleet asks: live nodes, and warm-up tasks that end as they are told."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            def __init__(self, cause: Exception) -> None:
                self.cause = cause

    def __init__(self) -> None:
        self.live: list[str] = []
        self.ended: dict[str, object] = {}
        """Warm-up task -> (node, proof), or an error."""

    def nodes(self) -> list[dict[str, object]]:
        known = {"Resources": {"CPU": 1.0}, "Alive": True}
        return [{**known, "NodeID": n, "NodeManagerAddress": f"10.0.0.{n}"} for n in self.live]

    def wait(self, refs: list[str], **_: object) -> tuple[list[str], list[str]]:
        return [r for r in refs if r in self.ended], [r for r in refs if r not in self.ended]

    def get(self, ref: str) -> object:
        found = self.ended[ref]
        if isinstance(found, Exception):
            raise found
        return found


class Cluster:
    """A fleet on ``Ray``, with a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.ray, self.told, self.tasks = 100.0, Ray(), [], []
        monkeypatch.setattr(fleet_module.time, "monotonic", lambda: self.now)
        fleet = self.fleet = object.__new__(fleet_module.RayFleet)
        fleet._ray, fleet._tell, fleet._on = self.ray, self.told.append, lambda node: node
        fleet._spec = SimpleNamespace(workers=None, families=("ema_crossover",), settings=None)
        fleet._nodes, fleet._addresses, fleet._met, fleet._warming = {}, {}, {}, {}
        fleet._proven, fleet._refused, fleet._market = set(), set(), None
        fleet._live, fleet._lost = frozenset(), Counter()
        fleet._seen_at = float("-inf")
        fleet._warm = SimpleNamespace(options=self._options)

    def _options(self, *, scheduling_strategy: str) -> SimpleNamespace:
        def remote(*_: object) -> str:
            self.tasks.append(f"{scheduling_strategy}-{len(self.tasks)}")
            return self.tasks[-1]

        return SimpleNamespace(remote=remote)

    def after(self, seconds: float) -> dict[str, int]:
        self.now += seconds
        return dict(self.fleet.nodes())


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


RIGHT = numerics_check.expected(("ema_crossover",))
WRONG = Proof(processor="odd", kernel_version=RIGHT.kernel_version, digests={"ema_crossover": "?"})
OLD = Proof(processor="good", kernel_version=3, digests=RIGHT.digests)


def test_a_node_gets_work_when_it_has_proven_its_numerics(cluster):
    cluster.ray.live = ["1"]
    assert cluster.after(0.0) == {}
    assert cluster.after(29.0) == {}
    cluster.ray.ended["1-0"] = ("1", RIGHT)
    assert cluster.after(2.0) == {"1": 1}
    (report,) = cluster.told
    assert report == NodeReport(
        id="1",
        node="10.0.0.1",
        processor=RIGHT.processor,
        kernel_version=RIGHT.kernel_version,
        digest=RIGHT.digest,
        refused=None,
    )


@pytest.mark.parametrize(
    ("came_to", "reason"),
    [
        (("1", WRONG), "compute ema_crossover to other bits"),
        (("1", OLD), "kernels of version 3, not"),
        (Ray.exceptions.RayTaskError(ImportError("no module ga")), "ImportError: no module ga"),
    ],
)
def test_a_node_that_differs_gets_no_work_and_is_named(cluster, came_to, reason):
    cluster.ray.live = ["1", "2"]
    cluster.after(0.0)
    cluster.ray.ended |= {"1-0": came_to, "2-1": ("2", RIGHT)}
    assert cluster.after(2.0) == {"2": 1}
    assert cluster.after(3600.0) == {"2": 1}
    # It is not tried again, and nobody waits for it.
    assert cluster.tasks == ["1-0", "2-1"]
    assert not cluster.fleet.warming
    refused = [one for one in cluster.told if one.refused is not None]
    assert [one.node for one in refused] == ["10.0.0.1"]
    assert reason in refused[0].refused
    assert cluster.fleet.refused == ["10.0.0.1"]


@pytest.mark.parametrize("first", ["1-0", "1-1"])
def test_a_warm_up_that_takes_long_is_begun_again_and_the_first_to_end_counts(cluster, first):
    cluster.ray.live = ["1"]
    cluster.after(0.0)
    assert cluster.after(31.0) == {}
    assert cluster.tasks == ["1-0", "1-1"]
    cluster.ray.ended[first] = ("1", RIGHT)
    assert cluster.after(2.0) == {}
    # The other one never ends.
    assert cluster.after(31.0) == {"1": 1}


def test_a_warm_up_that_ran_elsewhere_or_was_lost_proves_nothing(cluster):
    cluster.ray.live = ["1"]
    cluster.after(0.0)
    cluster.ray.ended["1-0"] = ("2", RIGHT)
    assert cluster.after(2.0) == {}
    cluster.ray.ended["1-1"] = Ray.exceptions.RayError("its worker died")
    assert cluster.after(2.0) == {}
    assert cluster.told == []
    cluster.ray.ended["1-2"] = ("1", RIGHT)
    assert cluster.after(2.0) == {"1": 1}


def test_worker_processes_that_die_again_and_again_take_their_node_out(cluster):
    cluster.ray.live = ["1"]
    for number in range(3):
        cluster.after(2.0)
        cluster.ray.ended[f"1-{number}"] = Ray.exceptions.RayError("its worker died")
    assert cluster.after(2.0) == {}
    assert len(cluster.tasks) == 3
    assert "died 3 times while they loaded" in cluster.told[-1].refused


def test_a_market_that_cannot_be_fetched_is_a_lost_try_and_no_refusal(cluster):
    cluster.ray.live = ["1"]
    cluster.after(0.0)
    lost = Ray.exceptions.RayTaskError(Ray.exceptions.RayError("object lost"))
    cluster.ray.ended["1-0"] = lost
    cluster.after(2.0)
    cluster.ray.ended["1-1"] = ("1", RIGHT)
    assert cluster.after(2.0) == {"1": 1}


def test_a_refused_node_uses_up_no_workers(cluster):
    cluster.ray.live = ["1", "2"]
    cluster.fleet._spec.workers = 1
    cluster.after(0.0)
    cluster.ray.ended["1-0"] = ("1", WRONG)
    cluster.after(2.0)
    cluster.after(2.0)
    cluster.ray.ended["2-1"] = ("2", RIGHT)
    assert cluster.after(2.0) == {"2": 1}


def test_one_process_that_differs_takes_its_node_out(cluster):
    cluster.ray.live = ["1"]
    cluster.ray.nodes = lambda: [
        {"NodeID": "1", "Alive": True, "Resources": {"CPU": 2.0}, "NodeManagerAddress": "10.0.0.1"}
    ]
    cluster.after(0.0)
    cluster.ray.ended |= {"1-0": ("1", RIGHT), "1-1": ("1", WRONG)}
    assert cluster.after(2.0) == {}
    assert [one.refused is None for one in cluster.told] == [True, False]


def test_a_node_that_fails_later_is_taken_out_and_its_batch_goes_elsewhere(cluster):
    cluster.ray.live = ["1", "2"]
    cluster.after(0.0)
    cluster.ray.ended |= {"1-0": ("1", RIGHT), "2-1": ("2", RIGHT)}
    assert cluster.after(2.0) == {"1": 1, "2": 1}
    cluster.ray.exceptions = SimpleNamespace(
        OutOfMemoryError=MemoryError,
        WorkerCrashedError=KeyError,
        RayTaskError=Ray.exceptions.RayTaskError,
        RayError=Ray.exceptions.RayError,
    )
    cluster.ray.ended["batch"] = remote.Unfit(id="1", reason="its disk is full")
    assert cluster.fleet.result("batch") is BatchFailure.LOST
    assert cluster.after(0.0) == {"2": 1}
    assert cluster.told[-1].refused == "its disk is full"
    # What runs elsewhere than it was meant to counts only from a node that may have work.
    for id, became in (("1", BatchFailure.LOST), ("stranger", BatchFailure.LOST), ("2", ("done",))):
        cluster.ray.ended["batch"] = remote.Answer(id=id, results=("done",))
        assert cluster.fleet.result("batch") == became
    cluster.ray.ended["batch"] = remote.Unfit(id="stranger", reason="x")
    assert cluster.fleet.result("batch") is BatchFailure.LOST


def test_the_command_names_what_differs(monkeypatch, capsys):
    options = SimpleNamespace(json=False, digests=False)
    assert numerics_check.command(options) == 0
    assert "computes all families right" in capsys.readouterr().out
    planted_ = {**numerics_check.EXPECTED, "ema_crossover": "0" * 16}
    monkeypatch.setattr(numerics_check, "EXPECTED", planted_)
    assert numerics_check.command(options) == 1
    assert "WRONG: must be 0000000000000000" in capsys.readouterr().out


def test_the_check_covers_signals_statistics_and_scores(monkeypatch):
    right = numerics_check.EXPECTED["ema_crossover"]
    plain = numerics_check.digest.__wrapped__
    assert plain("ema_crossover") == right
    score = numerics_check.score
    monkeypatch.setattr(numerics_check, "score", lambda *a: np.nextafter(score(*a), np.inf))
    assert plain("ema_crossover") != right
