"""A fault of the machine is never the outcome of a genome, and never goes unseen."""

from __future__ import annotations

import itertools
import pickle
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
from ga.execution.pool import Pool
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
def test_system_error_is_not_an_outcome(seen, monkeypatch, error):
    planted(monkeypatch, error)
    with pytest.raises(MachineError, match=f"ema_crossover cannot be .*{type(error).__name__}"):
        evaluate(seen, Settings(folds=3), [GENOME])


def test_unknown_family_is_not_an_outcome(seen):
    with pytest.raises(MachineError, match="unknown family 'astrology'"):
        evaluate(seen, Settings(folds=3), [Genome("astrology", (1.0,))])


@pytest.mark.parametrize("error", [ZeroDivisionError("planted"), ValueError("x"), IndexError("y")])
def test_error_caused_by_genome_is_its_outcome(seen, monkeypatch, error):
    planted(monkeypatch, *[error] * 9)
    monkeypatch.setattr(worker, "EXPECTED", {})
    batch = worker.work(seen, Settings(folds=3), [GENOME])
    assert batch.outcomes[0].error == f"{type(error).__name__}: {error}"


def test_unrepeatable_failure_is_a_machine_error(seen, monkeypatch):
    planted(monkeypatch, ValueError("once"))
    monkeypatch.setattr(worker, "EXPECTED", {})
    with pytest.raises(MachineError, match=r"once.*a repetition gave another result"):
        worker.work(seen, Settings(folds=3), [GENOME])


def test_failure_on_deviating_machine_is_machine_error(seen, monkeypatch):
    numerics_check.require(GENOME.family)
    planted(monkeypatch, *[ValueError("planted")] * 2)
    monkeypatch.setattr(worker, "EXPECTED", {GENOME.family: "another"})
    monkeypatch.setattr(worker, "digest", SimpleNamespace(__wrapped__=lambda _: "other bits"))
    with pytest.raises(MachineError, match="on a machine that fails its check"):
        worker.work(seen, Settings(folds=3), [GENOME])


def test_missing_machine_memory_is_a_machine_error(seen, monkeypatch):
    planted(monkeypatch, *[MemoryError()] * 9)
    monkeypatch.setattr(worker, "EXPECTED", {})
    outcome = worker.work(seen, Settings(folds=3), [GENOME]).outcomes[0]
    assert outcome.error == "out of memory"
    # Nobody can have so much: as under ``ulimit -d``, or where all is taken.
    monkeypatch.setattr(worker, "MEMORY", 1 << 62)
    with pytest.raises(MachineError, match=r"cannot give an evaluation its .* MiB"):
        worker.work(seen, Settings(folds=3), [GENOME])


def test_pool_with_deviating_numerics_evaluates_nothing(seen):
    settings = PerturbedSettings(folds=3)
    genome = Genome("volatility_scaling", (20.0, 1.2, 0.5, 4.0, 0.5, 0.15, 0.02))
    with closing(Pool(market=seen, settings=settings, workers=1)) as workers:
        # Only the family that uses what is wrong gives other bits.
        (result,) = workers.run([GENOME], [(0,)])
        assert result.batch.outcomes[0].error is None
        with pytest.raises(MachineError, match="volatility_scaling to other bits"):
            list(workers.run([genome], [(0,)]))


def test_failure_outside_evaluation_is_machine_error(seen):
    with closing(Pool(market=seen, settings=FailingSettings(folds=3), workers=1)) as workers:
        with pytest.raises(MachineError, match=r"OSError: .*Input/output error"):
            list(workers.run([GENOME], [(0,)]))
        assert [one.outcome for one in workers.unanswered_attempts[0]] == ["withdrawn"]


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
def test_workers_that_always_die_quarantine_nothing(seen, settings, patience, tries, says):
    with closing(
        Pool(market=seen, settings=settings(folds=3), workers=1, patience=patience)
    ) as workers:
        with pytest.raises(MachineError, match=says):
            list(workers.run([GENOME], [(0,)]))
        assert [one.outcome for one in workers.unanswered_attempts[0]] == tries


def test_kernel_oom_kills_are_a_machine_error(seen, monkeypatch):
    kills = itertools.count()
    monkeypatch.setattr(pool, "oom_kills", lambda: next(kills))
    workers = Pool(market=seen, settings=KilledSettings(folds=3), workers=1)
    with closing(workers), pytest.raises(MachineError, match=r"3 times \(out of memory\)"):
        list(workers.run([GENOME], [(0,)]))


def test_coordinator_with_deviating_breeding_is_refused(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(numerics_check, "EXPECTED_COORDINATOR", "another")
    store = f"sqlite:///{tmp_path}/run.db"
    assert main(["evolve", "--market", "synthetic", "--store", store]) == 1
    assert "this machine cannot lead a run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_auto_mode_skips_machine_that_fails_check():
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
    found = auto.choose(lambda: here, lambda: there, plan)
    assert found.evaluator is there
    assert found.reason == "distributed: this machine gets no work: odd"
    assert (here.closed, there.closed) == ([True], [])


def test_machine_with_deviating_numerics_is_refused(seen):
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


def test_checked_machine_is_reported_with_its_processor(seen):
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


def test_crash_of_harmless_genome_is_machine_error(seen, poisonous, monkeypatch):
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


def test_numerics_command_names_deviating_family(monkeypatch, capsys):
    options = SimpleNamespace(json=False, digests=False)
    assert numerics_check.command(options) == 0
    assert "computes all families right" in capsys.readouterr().out
    planted_ = {**numerics_check.EXPECTED, "ema_crossover": "0" * 16}
    monkeypatch.setattr(numerics_check, "EXPECTED", planted_)
    assert numerics_check.command(options) == 1
    assert "WRONG: must be 0000000000000000" in capsys.readouterr().out


def test_numerics_check_covers_scores(monkeypatch):
    right = numerics_check.EXPECTED["ema_crossover"]
    plain = numerics_check.digest.__wrapped__
    assert plain("ema_crossover") == right
    score = numerics_check.score
    monkeypatch.setattr(numerics_check, "score", lambda *a: np.nextafter(score(*a), np.inf))
    assert plain("ema_crossover") != right
