"""Worker processes of this machine that crash, hang, run out of memory or are shot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from evolution_gate.fixtures.system import process_table
from ga.errors import ClusterError
from ga.evaluation.evaluate import evaluate_batch
from ga.evaluation.folds import visible
from ga.execution.forkserver import CONTEXT, ONE_THREAD
from ga.execution.local import LocalEvaluator
from ga.execution.pool import Pool
from ga.genome import Genome
from tests.support.poison import ERRORS, POISONS, by_index, deadly, dosed
from tests.support.pool_workers import worker_processes
from tests.support.waiting import wait_until

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def seen(market, settings):
    return visible(market, settings)


# To take a GiB is slow on a busy machine: that is not waited for with the patience of a hang.
@pytest.mark.parametrize(
    ("count", "without", "patience"),
    [(1, "poison_hang", 120.0), (2, "poison_hang", 120.0), (2, "poison_hog", 8.0)],
)
def test_only_poison_genomes_fail_with_their_error(seen, poisonous, count, without, patience):
    assert set(ERRORS) == set(POISONS)
    names = [n for n in POISONS if n != without]
    group = [g for n in names for g in dosed(n.removeprefix("poison_"), 6, deadly_at=2)]
    evaluator = LocalEvaluator(
        market=seen, settings=poisonous, families=tuple(names), workers=count, patience=patience
    )
    with closing(evaluator):
        # What has to be compiled first may take longer than the patience.
        evaluator.warm_up()
        found = by_index(evaluator.evaluate(group))
        # It is as good as new.
        again = by_index(evaluator.evaluate(group[:2]))
    expected = iter(evaluate_batch(seen, poisonous, [g for g in group if not deadly(g)]).outcomes)
    for index, genome in enumerate(group):
        if deadly(genome):
            outcome = found[index]
            assert outcome.fitness is None
            assert re.fullmatch(ERRORS[genome.family], outcome.error)
        else:
            assert found[index] == next(expected)
    assert again == {i: found[i] for i in range(2)}


def test_every_attempt_is_reported_with_its_outcome(seen, poisonous):
    group = dosed("exit", 3, deadly_at=1)
    workers = Pool(market=seen, settings=poisonous, workers=1)
    crash = ("local", "crashed", "exit status 3")
    with closing(workers):
        found = {result.indices: result for result in workers.run(group, [(0, 1, 2)])}
        assert workers.unanswered_attempts == {}
        for index in range(3):
            result = found[index,]
            # With the batch, and then alone; the last of three alone is told as the outcome.
            expected = [crash] * (3 if index == 1 else 1)
            assert [(t.node, t.outcome, t.error) for t in result.tried] == expected
            assert result.seconds > 0
        results = workers.run(group, [(0, 1, 2)])
        assert next(results).indices == (0,)
        results.close()
    assert set(workers.unanswered_attempts) == {1, 2}
    assert [t.outcome for t in workers.unanswered_attempts[1]] == ["crashed", "withdrawn"]
    assert [t.outcome for t in workers.unanswered_attempts[2]] == ["crashed"]


def test_externally_killed_workers_quarantine_nothing(seen, poisonous):
    group = dosed("crash", 400, deadly_at=-1)
    workers = Pool(market=seen, settings=poisonous, workers=2)
    found, shot = {}, 0
    with closing(workers):
        batches = [tuple(range(at, at + 20)) for at in range(0, 400, 20)]
        for result in workers.run(group, batches):
            found |= by_index([result])
            if shot < 2:
                worker_processes()[0].kill()
                shot += 1
    assert len(found) == 400
    assert all(outcome.fitness is not None for outcome in found.values())


def test_worker_that_dies_while_answering_is_replaced(seen, poisonous, monkeypatch):
    receive = Connection.recv

    def cut(_: Connection) -> None:
        monkeypatch.setattr(Connection, "recv", receive)
        raise OSError("got end of file during message")

    group = dosed("crash", 40, deadly_at=-1)
    workers = Pool(market=seen, settings=poisonous, workers=1)
    with closing(workers):
        workers.wait_up()
        monkeypatch.setattr(Connection, "recv", cut)
        results = list(workers.run(group, [tuple(range(20)), tuple(range(20, 40))]))
    assert by_index(results) == dict(enumerate(evaluate_batch(seen, poisonous, group).outcomes))
    assert {t.outcome for r in results for t in r.tried} == {"crashed"}


def test_paused_worker_is_replaced_and_batch_retried(seen, poisonous):
    group = dosed("crash", 200, deadly_at=-1)
    workers = Pool(market=seen, settings=poisonous, workers=2, patience=3.0)
    with closing(workers):
        # What has to be compiled first may take longer than the patience.
        list(workers.run(group, [(0,)], lambda _: 600.0))
        workers.wait_up()
        list(workers.run(group, [(0,), (0,)], lambda _: 600.0))
        batches = [tuple(range(at, at + 20)) for at in range(0, 200, 20)]
        results = workers.run(group, batches)
        found = by_index([next(results)])
        os.kill(worker_processes()[0].pid, signal.SIGSTOP)
        found |= by_index(results)
    assert len(found) == 200
    assert all(outcome.fitness is not None for outcome in found.values())


def test_workers_that_cannot_start_raise_cluster_error(seen, settings, monkeypatch):
    start = CONTEXT.Process.start

    def start_and_kill(process) -> None:
        start(process)
        process.kill()

    monkeypatch.setattr(CONTEXT.Process, "start", start_and_kill)
    workers = Pool(market=seen, settings=settings, workers=1)
    with closing(workers), pytest.raises(ClusterError, match="could not be started 3 times"):
        list(workers.run([Genome("ema_crossover", (8.0, 20.0, 0.01, 0.5, 0.01))], [(0,)]))


def test_interrupted_start_leaves_no_worker(seen, settings, monkeypatch):
    start, started = CONTEXT.Process.start, []

    def start_and_interrupt(process) -> None:
        start(process)
        started.append(process)
        if len(started) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(CONTEXT.Process, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        Pool(market=seen, settings=settings, workers=3)
    for process in started:
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert len(started) == 2


def test_abandoned_results_are_not_mixed_up(seen, poisonous):
    group = dosed("crash", 300, deadly_at=-1)
    workers = Pool(market=seen, settings=poisonous, workers=2)
    with closing(workers):
        abandoned = workers.run(group, [(i,) for i in range(300)])
        next(abandoned)
        abandoned.close()
        found = by_index(workers.run(group[:40], [tuple(range(40))]))
    assert found == dict(enumerate(evaluate_batch(seen, poisonous, group[:40]).outcomes))


def test_workers_use_one_thread_and_parent_niceness(seen, settings, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    workers = Pool(market=seen, settings=settings, workers=1)
    with closing(workers):
        workers.wait_up()
        (worker,) = worker_processes()
        pid = worker.pid
        text = Path(f"/proc/{pid}/environ").read_bytes().decode()
        variables = dict(line.split("=", 1) for line in text.split("\0") if line)
        assert {name: variables.get(name) for name in ONE_THREAD} == ONE_THREAD
        assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert os.environ["OMP_NUM_THREADS"] == "7"


_ORPHAN = """
import multiprocessing, sys
from contextlib import closing
from ga.execution.pool import Pool
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.sources import synthetic

if __name__ == "__main__":
    settings = Settings(folds=3)
    pool = Pool(market=visible(synthetic(assets=1, bars=400, seed=1), settings),
                settings=settings, workers=2)
    pool.wait_up()
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    sys.stdin.read()
"""


def test_workers_end_with_killed_parent(tmp_path):
    script = tmp_path / "orphan.py"
    script.write_text(_ORPHAN)
    folder = tempfile.TemporaryDirectory(prefix="ga-")  # short, as a socket's path must be
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": folder.name},
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        for pid in pids:
            # As deaf as one that computes: it cannot see that its pipe is closed.
            os.kill(pid, signal.SIGSTOP)
        assert os.listdir(folder.name)
        parent.kill()
        parent.wait()
    # A dead one that nobody has asked for yet is gone, too.
    wait_until(
        lambda: (
            all(process_table.state(pid) in "ZX" for pid in pids) and not os.listdir(folder.name)
        ),
        seconds=30,
        what="workers and their sockets are gone",
    )
    folder.cleanup()
