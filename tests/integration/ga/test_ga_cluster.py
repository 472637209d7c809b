"""Evaluation on a real Ray cluster that is broken on purpose."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import sqlalchemy as sa

from evolution_gate import fixtures
from evolution_gate.fixtures import Stack
from evolution_gate.fixtures.system import process_table
from ga.errors import ClusterError, InputError
from ga.evaluation.evaluate import evaluate_batch
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome
from ga.event_log import BatchLog
from ga.evolution import Evolution, Plan
from ga.execution.auto import make_evaluator
from ga.execution.local import LocalEvaluator
from ga.execution.ray.evaluator import ClusterEvaluator
from ga.execution.ray.reconnect import Reconnector
from ga.families import FAMILIES
from ga.ledger import open_ledger
from ga.ledger.connection import engine_of
from ga.ledger.schema import generations
from ga.runner import Progress, Runner
from ga.sources import MarketSpec
from ga.store_url import url_of
from tests.support.poison import ERRORS, POISONS, by_index, deadly, dosed
from tests.support.service_process import Service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack

PLAN = Plan(seed=3, population_size=40, generations=4)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with fixtures.start_stack(nodes=2, backend="processes") as stack:
        yield stack


@pytest.fixture(autouse=True)
def _reachable(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stack.endpoints.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def seen(market, settings):
    return visible(market, settings)


@pytest.fixture
def connect(stack, seen, settings):
    """Makes evaluators on the stack; the test closes them."""

    def connect(**changes) -> ClusterEvaluator:
        known = {"settings": settings, "families": tuple(FAMILIES), "address": stack.endpoints.ray}
        return ClusterEvaluator(**{"market": seen, **known, **changes})

    return connect


def driver() -> BaseProcess:
    """The driver process that this process has started."""
    (found,) = (p for p in multiprocessing.active_children() if p.name == "ga-driver")
    return found


def children(pid: int) -> set[int]:
    """All descendants of a process."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                # It ended while we looked.
                continue
            parents[int(folder.name)] = int(text.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def priorities(pids: set[int]) -> set[int]:
    """Of those that have not ended meanwhile."""
    found = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            found.add(os.getpriority(os.PRIO_PROCESS, pid))
    return found


def running(pids: set[int]) -> set[int]:
    alive = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            # Gone, which is what is waited for.
            continue
        if state not in "ZX":
            alive.add(pid)
    return alive


# To take a GiB is slow on a busy machine: that is not waited for with the patience of a hang.
@pytest.mark.parametrize(
    ("without", "patience"),
    # Those of the first are evaluated on a cluster in the fault matrix, too.
    [pytest.param("poison_hang", 120.0, marks=pytest.mark.nightly), ("poison_hog", 12.0)],
)
def test_poison_genomes_fail_as_on_one_machine(connect, seen, poisonous, without, patience):
    names = [name for name in POISONS if name != without]
    group = [g for name in names for g in dosed(name.removeprefix("poison_"), 6, deadly_at=2)]
    evaluator = connect(settings=poisonous, families=tuple(names), patience=patience)
    with closing(evaluator):
        evaluator.warm_up()
        found = by_index(evaluator.evaluate(group))
        again = by_index(evaluator.evaluate(group[:2]))
        assert evaluator.workers == 2
    expected = iter(evaluate_batch(seen, poisonous, [g for g in group if not deadly(g)]).outcomes)
    for index, genome in enumerate(group):
        if deadly(genome):
            outcome = found[index]
            assert outcome.fitness is None
            assert re.fullmatch(ERRORS[genome.family], outcome.error)
        else:
            assert found[index] == next(expected)
    assert again == {i: found[i] for i in range(2)}


def test_cluster_workers_have_local_niceness(connect, stack):
    population = list(dict.fromkeys(Evolution(PLAN).ask()))
    with closing(connect()) as evaluator:
        evaluator.warm_up()
        list(evaluator.evaluate(population))
        below = {pid for node in stack.nodes for pid in children(node.pid)}
        names = {pid: (process_table.command(pid) or [""])[0] for pid in below}
        tasks = {p for p, n in names.items() if n.startswith("ray::") and "Agent" not in n}
        assert len(tasks) >= 2
        assert priorities(tasks) == {os.nice(0)}


def test_auto_mode_picks_faster_of_measured_modes(stack, seen, settings):
    choice = make_evaluator(
        "auto",
        market=seen,
        settings=settings,
        plan=PLAN,
        workers=1,
        address=stack.endpoints.ray,
    )
    with closing(choice.evaluator):
        times = {mode: cost.generation(40) for mode, cost in choice.costs.items()}
        assert set(times) == {"local", "distributed"}
        assert min(times.values()) > 0.0
        assert choice.evaluator.mode == min(times, key=times.__getitem__)
        assert choice.reason.startswith(f"{choice.evaluator.mode}: cluster ")
        population = list(dict.fromkeys(Evolution(PLAN).ask()))
        found = by_index(choice.evaluator.evaluate(population))
    assert found == dict(enumerate(evaluate_batch(seen, settings, population).outcomes))


def test_joining_and_leaving_nodes_change_only_slots(connect, stack, seen, settings):
    population = list(dict.fromkeys(Evolution(PLAN).ask()))
    expected = dict(enumerate(evaluate_batch(seen, settings, population).outcomes))
    node = stack.nodes[0]
    with closing(connect()) as evaluator:
        evaluator.warm_up()
        assert evaluator.workers == 2
        assert node.kill().confirmed

        def answered() -> dict[int, Outcome]:
            return by_index(evaluator.evaluate(population))

        # Every answer brings the number that it was given with.
        assert answered() == expected
        wait_until(
            lambda: answered() == expected and evaluator.workers == 1,
            seconds=30,
            what="one slot is left",
            every=0.1,
        )
        assert node.start().confirmed
        # It counts only when it is warm.
        wait_until(
            lambda: answered() == expected and evaluator.workers == 2,
            seconds=60,
            what="two slots are there again",
            every=0.1,
        )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_or_hung_driver_loses_the_cluster(connect, seen, settings, how, monkeypatch):
    monkeypatch.setattr("ga.execution.ray.evaluator.SILENT_SECONDS", 5.0)
    population = list(dict.fromkeys(Evolution(PLAN).ask())) * 50
    with closing(connect()) as evaluator:
        evaluator.warm_up()
        pid = driver().pid
        family = children(pid) | {pid}
        answers = evaluator.evaluate(population)
        results = [next(answers)]
        os.kill(pid, how)
        # Nothing is raised before all that it had answered is taken.
        with pytest.raises(ClusterError, match=r"driver (process died|silent for 5 s)"):
            results.extend(answers)
    wait_until(lambda: not running(family), seconds=10, what="the driver is gone", every=0.1)
    expected = evaluate_batch(seen, settings, population[:40]).outcomes
    for result in results:
        for index, outcome in zip(result.indices, result.batch.outcomes, strict=True):
            assert outcome == expected[index % 40]


def test_failover_and_failback_keep_the_history(connect, market, seen, settings, tmp_path):
    cluster, standbys = connect(), []
    lost = driver()

    def stand_by() -> Reconnector:
        standbys.append(Reconnector(connect, first=0.2))
        return standbys[-1]

    def fall_back(_: ClusterError) -> LocalEvaluator:
        return LocalEvaluator(market=seen, settings=settings, families=PLAN.families, workers=1)

    def progress(_: Progress) -> None:
        if lost.is_alive():
            lost.kill()
            lost.join()
        elif standbys:
            # The run is short, and would be over before the cluster is back.
            wait_until(lambda: not standbys[0].trying, seconds=60, what="the cluster is back")

    with (
        closing(open_ledger(str(tmp_path / "ledger.db"), create=True)) as ledger,
        BatchLog(tmp_path / "log") as log,
    ):
        run = ledger.begin(
            market=market,
            spec=MarketSpec(spec="-"),
            plan=PLAN,
            settings=settings,
            mode="distributed",
        )
        runner = Runner(
            run=run,
            evolution=Evolution(PLAN),
            market=seen,
            settings=settings,
            ledger=ledger,
            evaluator=cluster,
            fall_back=fall_back,
            stand_by=stand_by,
            log=log,
            on_progress=progress,
        )
        try:
            summary = runner.go()
        finally:
            runner.evaluator.close()
        assert len(ledger.evaluated(run)) == summary.evaluations
    assert (summary.fallbacks, summary.failbacks, summary.mode) == (1, 1, "distributed")
    evolution = Evolution(PLAN)
    while not evolution.done:
        evolution.tell(evaluate_batch(seen, settings, evolution.ask()).outcomes)
    assert summary.digest == evolution.digest


def test_wrong_token_is_an_input_error(connect, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with closing(connect()) as evaluator:
        with pytest.raises(InputError, match="refuses this token; set RAY_AUTH_MODE=token"):
            evaluator.warm_up()
        assert "ga-driver" not in {p.name for p in multiprocessing.active_children()}


def test_own_cluster_ends_with_killed_driver(connect):
    before = children(os.getpid())
    with closing(connect(address=None, workers=1)) as evaluator:
        evaluator.warm_up()
        family = children(os.getpid()) - before
        assert len(family) > 3
        # The niceness of its workers is that of the local pool's.
        assert priorities(family) == {os.getpriority(os.PRIO_PROCESS, 0)}
        driver().kill()
        with pytest.raises(ClusterError, match="cluster lost"):
            list(evaluator.evaluate(Evolution(PLAN).ask()))
    wait_until(lambda: not running(family), seconds=20, what="the cluster is gone", every=0.1)


def until_served(service: Service, done: Callable[[], bool], seconds: float, what: str) -> None:
    """``wait_until``, with the service's evolutions at the priority of others: niced they would
    take only what a busy machine leaves."""

    def look() -> bool:
        below = process_table.descendants({service.process.pid}) if os.geteuid() == 0 else set()
        for pid in below:
            # Each thread has a priority of its own.
            with suppress(FileNotFoundError, ProcessLookupError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.setpriority(os.PRIO_PROCESS, int(thread), 0)
        return done()

    wait_until(look, seconds=seconds, what=what, every=0.1)


def test_service_on_cluster_survives_kill(stack, tmp_path):
    assert stack.endpoints.postgres is not None
    given = (tmp_path / "log", stack.endpoints.postgres, "--address", stack.endpoints.ray)
    first = Service(*given)
    second = None
    try:
        runs = {
            mode: first.submit(mode, mode=mode, generations=30).json()["id"]
            for mode in ("distributed", "local")
        }
        until_served(
            first,
            lambda: first.get(f"/{runs['distributed']}")["generation"] >= 1,
            90,
            "the first generation",
        )
        first.close(signal.SIGKILL)
        second = Service(*given)
        until_served(
            second,
            lambda: all(r["state"] == "finished" for r in second.get("")["evolutions"]),
            120,
            "all evolutions are finished",
        )
        ended = {mode: second.get(f"/{run}") for mode, run in runs.items()}
        assert ended["distributed"]["digest"] == ended["local"]["digest"]
    finally:
        for one in (first, second):
            if one is not None and one.process.poll() is None:
                one.close()
    engine = engine_of(url_of(stack.endpoints.postgres))
    with engine.connect() as connection:
        committed = connection.execute(sa.select(generations.c.run, generations.c.mode)).all()
    engine.dispose()
    assert {mode: {m for r, m in committed if r == run} for mode, run in runs.items()} == {
        mode: {mode} for mode in runs
    }
