"""Evaluators, the runner and the ledger together: one history, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import defaultdict
from contextlib import closing

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ga.errors import InputError, LedgerError
from ga.evaluation.evaluate import evaluate_batch
from ga.evaluation.settings import Outcome, evaluation_key
from ga.evolution import Evolution, Plan
from ga.execution.local import LocalEvaluator
from ga.execution.protocol import FailedAttempt
from ga.families import FAMILIES
from ga.ledger import Ledger, open_ledger
from ga.population import Population
from ga.resumption import resumed
from tests.support.poison import deadly
from tests.support.pool_workers import worker_processes
from tests.support.run_bench import PLAN, Bench, undisturbed_digest


@pytest.fixture
def bench(market, settings, tmp_path) -> Bench:
    return Bench(market, settings, tmp_path)


@pytest.fixture(scope="module")
def digest(market, settings) -> str:
    return undisturbed_digest(market, settings)


@hypothesis_settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000))
def test_batch_order_does_not_change_history(bench, digest, seed):
    assert bench.go(bench.fake(seed=seed)).digest == digest


def test_worker_count_does_not_change_history(bench, digest, settings):
    for workers in (1, 2):
        evaluator = LocalEvaluator(
            market=bench.seen, settings=settings, families=PLAN.families, workers=workers
        )
        with closing(evaluator):
            summary = bench.go(evaluator)
        assert summary.digest == digest
        assert (summary.mode, summary.workers, summary.failed) == ("local", workers, 0)
        assert set(summary.cpu_seconds_by_node) == {"local"}
        assert summary.cpu_seconds > 0


def test_signal_at_thread_start_leaves_no_commit(bench, monkeypatch):
    start, started = threading.Thread.start, []

    def interrupted(thread):
        start(thread)
        if thread.name.startswith("ledger"):
            started.append(thread)
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    written = []
    monkeypatch.setattr(Ledger, "commit", lambda *_, **fields: written.append(fields))
    with pytest.raises(KeyboardInterrupt):
        bench.go(bench.fake())
    (thread,) = started
    thread.join(60)
    assert (thread.is_alive(), written) == (False, [])


def test_killed_pool_worker_loses_nothing(bench, settings):
    group = list(dict.fromkeys(Evolution(PLAN).ask())) * 40
    evaluator = LocalEvaluator(
        market=bench.seen, settings=settings, families=PLAN.families, workers=2
    )
    with closing(evaluator):
        evaluator.warm_up()
        victim, results = worker_processes()[0], []
        for result in evaluator.evaluate(group):
            results.append(result)
            if len(results) == 1:
                os.kill(victim.pid, signal.SIGSTOP)
            elif len(results) == 4:
                # The other worker has answered since: an answer that this one had sent before it
                # stopped is taken, and it has been given a batch that it never answers.
                victim.kill()
    assert sorted(i for r in results for i in r.indices) == list(range(len(group)))
    assert max(r.attempt for r in results) == 1
    (tries,) = {r.tried for r in results if r.attempt}
    assert [(t.node, t.outcome, t.error) for t in tries] == [("local", "crashed", "SIGKILL")]
    assert all(len(r.tried) == r.attempt for r in results)
    expected = {o.key: o for o in evaluate_batch(bench.seen, settings, group[:40]).outcomes}
    assert all(expected[o.key] == o for r in results for o in r.batch.outcomes)


def test_every_attempt_is_in_the_ledger(bench, digest, settings):
    """Two batches were tried before, and two genomes were on nodes when the cluster was lost."""
    crash = FailedAttempt(node="10.0.0.7", outcome="crashed", error="SIGSEGV", at=1.5)
    lost = FailedAttempt(node="10.0.0.8", outcome="lost", error="driver process died", at=2.5)
    unanswered = {20: (crash, lost), 21: (lost,)}
    cluster = bench.fake(lose_after=2, shuffles=False, tried=(crash,), unanswered=unanswered)
    summary = bench.go(cluster)
    assert summary.digest == digest
    keys = [evaluation_key(g, bench.seen.hash, settings) for g in Evolution(PLAN).ask()]
    expected = {key: [crash] for key in keys[:14]} | {keys[20]: [crash, lost], keys[21]: [lost]}
    with closing(open_ledger(bench.store, create=False)) as ledger:
        found = defaultdict(list)
        for generation, one in ledger.history(summary.run).attempts:
            assert (generation, one.attempt) == (0, len(found[one.key]))
            found[one.key].append(
                FailedAttempt(node=one.node, outcome=one.outcome, error=one.error, at=one.at)
            )
        with ledger.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT key, attempts FROM evaluations")).all()
    assert found == expected
    assert dict(map(tuple, rows)) == {key: 1 + len(expected.get(key, [])) for key, _ in rows}


def test_generation_is_logged_only_after_commit(bench, tmp_path, monkeypatch):
    log, before = tmp_path / "log.jsonl", []
    commit = Ledger.commit

    def acknowledged() -> list[int]:
        events = [json.loads(line) for line in log.read_text().splitlines()]
        return [e["generation"] for e in events if e["event"] == "generation"]

    def fails_at_last(self, *args, generation, **rest):
        before.append(acknowledged())
        if generation == 3:
            raise LedgerError("planted: no commit")
        commit(self, *args, generation=generation, **rest)

    monkeypatch.setattr(Ledger, "commit", fails_at_last)
    with pytest.raises(LedgerError, match="planted"):
        bench.go(bench.fake(mode="local"), log=log)
    assert before == [[], [0], [0, 1], [0, 1, 2]]
    assert acknowledged() == [0, 1, 2]
    assert bench.counts()["generations"] == 3


def test_poison_failure_is_in_log_and_ledger(bench, poisonous, tmp_path):
    names = ("poison_crash", "ema_crossover")
    plan, log = Plan(seed=2, population_size=12, generations=3, families=names), tmp_path / "log"
    evaluator = LocalEvaluator(
        market=bench.seen, settings=poisonous, families=plan.families, workers=2
    )
    with closing(evaluator):
        summary = bench.go(evaluator, evolution=Evolution(plan), log=log)
    # The history is that of a machine where such genomes simply fail.
    evolution = Evolution(plan)
    bad = set()
    while not evolution.done:
        population = evolution.ask()
        keys = [evaluation_key(g, bench.seen.hash, poisonous) for g in population]
        well = [g for g in population if not deadly(g)]
        known = {o.key: o for o in evaluate_batch(bench.seen, poisonous, well).outcomes}
        bad |= {k for k, g in zip(keys, population, strict=True) if deadly(g)}
        evolution.tell([known.get(k) or Outcome(key=k, fitness=None, error="-") for k in keys])
    assert bad
    assert summary.digest == evolution.digest
    assert summary.failed == len(bad)
    with closing(open_ledger(bench.store, create=False)) as ledger:
        outcomes = ledger.evaluated(summary.run)
    assert {k for k, o in outcomes.items() if o.error} == bad
    assert {outcomes[key].error for key in bad} == {"crashed its worker 3 times (SIGSEGV)"}
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {e["key"] for e in events if e["event"] == "failed"} == bad


def test_missing_results_raise_an_error(bench):
    with pytest.raises(RuntimeError, match="ended with 7 genomes unanswered"):
        bench.go(bench.fake(drops_a_batch=True))
    assert bench.counts() == {"runs": 1, "generations": 0, "evaluations": 0, "individuals": 0}


def test_duplicate_results_count_once(bench, digest):
    summary = bench.go(bench.fake(doubles_a_batch=True))
    assert summary.digest == digest
    counts = bench.counts()
    assert counts["evaluations"] == summary.evaluations
    assert counts["individuals"] == 40 * 4


def test_equal_genomes_are_evaluated_once(bench):
    evaluator, evolution = bench.fake(), Evolution(PLAN)
    half, width = evolution.ask()[:20], evolution.population.genes.shape[1]
    evolution.population = Population.of(PLAN.families, half * 2, width)
    summary = bench.go(evaluator, evolution=evolution)
    assert len(evaluator.asked) == len(set(evaluator.asked)) == summary.evaluations <= 140
    assert bench.counts()["evaluations"] == summary.evaluations


@pytest.mark.parametrize("stop_at", [0, 3, 8, 14])
def test_interrupted_run_resumes_to_same_history(bench, digest, stop_at):
    store = open_ledger(bench.store, create=True)
    run = bench.start(store)
    with pytest.raises(OSError, match="planted: power"):
        bench.go(
            bench.fake(lose_after=stop_at, error=OSError("planted: power")), ledger=store, run=run
        )
    counts = bench.counts()
    assert counts["individuals"] == 40 * counts["generations"]
    with closing(open_ledger(bench.store, create=False)) as ledger:
        record = ledger.run(run)
        assert (record.committed, record.finished_at) == (counts["generations"], None)
        evolution = resumed(ledger, record, bench.seen.hash)
    store = open_ledger(bench.store, create=False)
    summary = bench.go(bench.fake(seed=5), ledger=store, run=run, evolution=evolution)
    assert summary.digest == digest
    with closing(open_ledger(bench.store, create=False)) as ledger:
        record = ledger.run(run)
        assert (record.digest, record.committed) == (digest, 4)
        assert record.finished_at is not None


@pytest.mark.parametrize("table", ["evaluations", "individuals", "generations", "runs"])
def test_failed_commit_leaves_nothing_of_generation(bench, table):
    """The statement on one table fails in the last generation, the only one that writes to all."""
    ledger = open_ledger(bench.store, create=True)
    run = bench.start(ledger)
    what = "UPDATE OF finished_at" if table == "runs" else "INSERT"
    when = "" if table == "runs" else "WHEN NEW.generation = 3"
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TRIGGER planted BEFORE {what} ON {table} {when}"
            " BEGIN SELECT RAISE(ABORT, 'planted: disk full'); END"
        )
    with pytest.raises(sa.exc.DBAPIError, match="disk full"):
        bench.go(bench.fake(), ledger=ledger, run=run)
    counts = bench.counts()
    assert (counts["generations"], counts["individuals"]) == (3, 120)
    with closing(open_ledger(bench.store, create=False)) as opened:
        assert {e for g in range(3) for e in (o.key for _, o in opened.individuals(run, g))} == set(
            opened.evaluated(run)
        )
        assert opened.run(run).finished_at is None


def test_ledger_refuses_duplicate_evaluations_and_generations(bench, settings):
    population = Evolution(PLAN).ask()
    outcomes = evaluate_batch(bench.seen, settings, population).outcomes
    with closing(open_ledger(bench.store, create=True)) as ledger:
        run = bench.start(ledger)

        def commit(generation: int, fresh: dict[str, int]) -> None:
            ledger.commit(
                run,
                generation=generation,
                population=population,
                outcomes=outcomes,
                fresh=fresh,
                digest="0" * 64,
                seconds=0.1,
                mode="local",
                last=False,
            )

        fresh = {o.key: 1 for o in outcomes}
        commit(0, fresh)
        before = bench.counts()
        with pytest.raises(sa.exc.IntegrityError):
            commit(1, fresh)
        with pytest.raises(sa.exc.IntegrityError):
            commit(0, {})
        assert bench.counts() == before


def test_committed_generation_round_trips(bench, settings):
    population = list(Evolution(PLAN).ask())
    outcomes = list(evaluate_batch(bench.seen, settings, population).outcomes)
    outcomes[3] = Outcome(key=outcomes[3].key, fitness=None, error="planted: línea\n'\"")
    outcomes[4] = Outcome(key=outcomes[4].key, fitness=5e-324, trades=1, max_drawdown=0.1 + 0.2)
    with closing(open_ledger(bench.store, create=True)) as ledger:
        run = bench.start(ledger)
        ledger.commit(
            run,
            generation=0,
            population=population,
            outcomes=outcomes,
            fresh={o.key: 2 for o in outcomes},
            digest="a" * 64,
            seconds=0.1,
            mode="local",
            last=False,
        )
        assert ledger.individuals(run, 0) == list(zip(population, outcomes, strict=True))
        assert ledger.evaluated(run) == {o.key: o for o in outcomes}
        record = ledger.run(run[:6])
        assert (record.plan, record.settings, record.committed) == (PLAN, settings, 1)
        found = ledger.strategies(run, 100)
        assert [s.outcome.fitness for s in found] == sorted(
            {o.fitness for o in outcomes if o.fitness is not None}, reverse=True
        )
        with pytest.raises(InputError, match="no such run"):
            ledger.run("nonsense")
        with pytest.raises(InputError, match="no such run"):
            ledger.run("%")


def test_progress_increases_to_the_end(bench):
    seen = []
    summary = bench.go(bench.fake(), on=seen.append)
    assert [p.evaluations for p in seen] == sorted(p.evaluations for p in seen)
    assert seen[-1].evaluations == summary.evaluations
    assert (seen[-1].generation, seen[-1].done) == (3, 40)
    assert seen[-1].seconds_left == pytest.approx(0.0, abs=1e-6)
    best = [p.best for p in seen if p.best is not None]
    assert best == sorted(best)


def test_first_generation_has_all_families(bench):
    summary = bench.go(bench.fake())
    with closing(open_ledger(bench.store, create=False)) as ledger:
        families = {g.family for g, _ in ledger.individuals(summary.run, 0)}
    assert families == set(FAMILIES)
