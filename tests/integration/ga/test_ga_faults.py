"""The fault matrix, and seeded schedules of faults: whatever is broken, the history is the same.

More schedules: ``python -m pytest -m stack tests/integration/ga/test_ga_faults.py -k schedule
--fault-schedules 30 --fault-seed 100``. A failed test prints the command that repeats it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from evolution_gate.fixtures.faults import disk_full
from ga.evaluation.evaluate import evaluate_batch
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings, evaluation_key
from ga.evolution import Evolution, Plan
from ga.ledger import open_ledger
from ga.sources import MarketSpec
from ga.verification import market_of, verify
from tests.support.breaking import FAULTS, LAST, cannot, driver_of, kill_coordinator
from tests.support.evolving import Evolving, Ground
from tests.support.ledger_stores import Server
from tests.support.poison import deadly

pytestmark = [pytest.mark.stack, pytest.mark.validation]
on_both_stores = pytest.mark.parametrize(
    # Every submission has production's store; the other one is tried each night.
    "store",
    [pytest.param("sqlite", marks=pytest.mark.nightly), "postgresql"],
    indirect=True,
)

MARKET = "synthetic:assets=2,bars=1500,seed=5"
SETTINGS = Settings(folds=3)
PLAN = Plan(seed=11, population_size=60, generations=4, families=("pca_tree_quantile",))
"""Of a learned family: a batch takes some hundredths of a second."""
LONG = replace(PLAN, generations=24)
"""For several faults: the receipt of one of a link takes some seconds."""
VOLUME_BYTES = 1 << 26
HARMLESS = "ema_crossover"
POISONOUS = ("poison_crash", "poison_exit", "poison_hog", "poison_raise")

Undisturbed = Callable[[Plan], str]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ground = Ground()
    with ExitStack() as held:
        held.callback(lambda: ground.stack.close())
        if not disk_full.unavailable():
            ground.volume = held.enter_context(disk_full.small(VOLUME_BYTES))
        yield ground


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    """The digest of a plan's history by the plain functions: no worker, no ledger, no fault."""
    market = visible(MarketSpec(spec=MARKET).load(), SETTINGS)
    known, digests = {}, {}

    def digest(plan: Plan) -> str:
        if plan not in digests:
            evolution = Evolution(plan)
            while not evolution.done:
                population = evolution.ask()
                fresh = [g for g in dict.fromkeys(population) if g not in known]
                known.update(zip(fresh, _outcomes(market, fresh), strict=True))
                evolution.tell([known[genome] for genome in population])
            digests[plan] = evolution.digest
        return digests[plan]

    return digest


def _outcomes(market, group):
    """As ``evaluate_batch``, but the deadly are not evaluated: they fail."""
    good = iter(evaluate_batch(market, SETTINGS, [g for g in group if not deadly(g)]).outcomes)
    return [
        Outcome(key=evaluation_key(g, market.hash, SETTINGS), fitness=None, error="deadly")
        if deadly(g)
        else next(good)
        for g in group
    ]


@contextmanager
def evolving(
    ground: Ground, store: str, folder: Path, server: Server | None, plan: Plan, module: str = "ga"
) -> Iterator[Evolving]:
    ground.restore()
    if ground.volume is not None and store.startswith("sqlite"):
        store = f"sqlite:///{ground.volume.path / folder.name}.db"
    with Evolving(ground, store, folder, server, module) as run:
        run.start(
            "--market", MARKET, "--folds", str(SETTINGS.folds), "--seed", str(plan.seed),
            "--population-size", str(plan.population_size), "--generations", str(plan.generations),
            "--families", ",".join(plan.families),
        )  # fmt: skip
        yield run


def check(run: Evolving, expected: str) -> None:
    """Nothing is lost, doubled or different, and every try is accounted for."""
    assert all(receipt.confirmed for receipt in run.receipts), run.receipts
    with closing(open_ledger(run.store, create=False)) as ledger:
        (record,) = ledger.runs()
        history = ledger.history(record.run)
    found = verify(history, market_of(history), sample=6)
    assert found.equal, found.witnesses
    assert (found.lost, found.doubled, found.different) == (0, 0, 0)
    assert found.digest == found.recomputed == expected
    assert found.individuals == record.plan.population_size * record.plan.generations
    assert record.finished_at is not None
    uneven = """
        SELECT e.key, e.attempts, count(a.key) FROM evaluations e
        LEFT JOIN attempts a ON a.run = e.run AND a.key = e.key
        GROUP BY e.key, e.attempts
        HAVING e.attempts <> count(a.key) + 1 AND (e.attempts <> 0 OR count(a.key) <> 0)
    """
    assert run.rows(uneven) == []


def _server(request: pytest.FixtureRequest, store: str) -> Server | None:
    return None if store.startswith("sqlite") else request.getfixturevalue("server")


def one_fault(
    name: str,
    store: str,
    ground: Ground,
    expected: str,
    server: Server | None,
    folder: Path,
    plan: Plan = PLAN,
) -> None:
    """A run that suffers it comes to what it must."""
    fault = FAULTS[name]
    if (why := cannot(ground, name, store)) is not None:
        pytest.skip(why)
    with evolving(ground, store, folder, server, plan) as run:
        assert fault.moment(run), run.said()
        run.receipts += fault.strike(run)
        run.finish()
        assert run.receipts, "nothing was hit: the run was over, or did nothing, before the strike"
        # It was hit in the middle, not after the work was done.
        last = run.events("batch")[-1]["finished_at"]
        assert last > run.receipts[0].requested_at, "the work was done before the strike"
        check(run, expected)
        fallbacks = len(run.events("fallback"))
        assert fallbacks == fault.fallbacks, run.said()
        assert run.resumed == (name == "kill coordinator")
        tries = {outcome for (outcome,) in run.rows("SELECT DISTINCT outcome FROM attempts")}
        if fault.takes_work or (fault.outcomes and _hit_work(run)):
            assert tries & fault.outcomes, tries


def _hit_work(run: Evolving) -> bool:
    """Whether the generation that was on at the fault had batches that no slot had taken.

    Then every slot had one, also of what was hit, which need not have ended for good. Between two
    generations nothing need be in flight, and at the end of one a node may be idle. Without a head,
    workers finish what they have, and nothing more is dispatched: once one has answered after the
    fault, all may have answered before the loss is seen, and the rest of the generation waits. If
    none has, what this machine does afterwards of a generation that had begun was in flight.
    """
    losses = run.events("fallback")
    struck = run.receipts[0].requested_at
    at = losses[0]["at"] if losses else struck
    batches = run.events("batch")
    if losses:
        on = max((batch["generation"] for batch in batches if batch["at"] < at), default=0)
        answers = [batch["at"] for batch in batches if batch["generation"] == on]
        left = max(answers, default=0.0) > at
        return left and not any(struck < answer < at for answer in answers)
    on = max(batch["generation"] for batch in batches if batch["finished_at"] <= at)
    later = [b for b in batches if b["generation"] == on and b["started_at"] > at]
    # One may have waited beside the batch of the other node.
    return len(later) > 1


@on_both_stores
@pytest.mark.parametrize("name", [name for name in FAULTS if name != LAST])
def test_history_is_unchanged_after_fault(name, store, ground, undisturbed, request, tmp_path):
    one_fault(name, store, ground, undisturbed(PLAN), _server(request, store), tmp_path)


@on_both_stores
@pytest.mark.usefixtures("poisonous")
def test_poison_is_quarantined_and_history_unchanged(store, ground, undisturbed, request, tmp_path):
    plan = Plan(seed=165, population_size=16, generations=2, families=(HARMLESS, *POISONOUS))
    expected = undisturbed(plan)
    server = _server(request, store)
    with evolving(ground, store, tmp_path, server, plan, "tests.support.poisoned") as run:
        run.finish()
        check(run, expected)
        assert run.events("fallback") == []
        failed = run.rows("SELECT DISTINCT family FROM evaluations WHERE error IS NOT NULL")
        assert {family for (family,) in failed} == set(POISONOUS)
        query = "SELECT min(attempts), max(attempts) FROM evaluations WHERE error LIKE 'crashed%'"
        # Two in a batch, then three alone; a part of it may have been sent twice.
        ((least, most),) = run.rows(query)
        assert least > 3
        assert most < 12


def test_repeatedly_killed_run_resumes_without_leftover_driver(
    ground, undisturbed, server, tmp_path
):
    rng = random.Random(1)
    expected = undisturbed(LONG)
    with evolving(ground, server.database(), tmp_path, server, LONG) as run:
        # In its work on the cluster; at any moment of its start there; in its work on this machine.
        for working, local in ((True, False), (False, True), (True, True)):
            if working:
                assert run.go_on(rng.randrange(1, 20)), run.said()
                assert run.next_generation(), run.said()
                time.sleep(rng.uniform(0.0, 0.3))  # the seed draws when the fault strikes
            else:
                run.start_goes_on(rng.uniform(0.0, 2.0))
            driver = driver_of(run)
            receipts = kill_coordinator(run, local=local)
            assert receipts, "it was over before"
            run.receipts += receipts
            assert driver is None or not driver.alive
            assert driver is not None or run.resumed > 1
        run.finish()
        check(run, expected)
        modes = {mode for (mode,) in run.rows("SELECT DISTINCT mode FROM generations")}
        assert "local" in modes


@pytest.mark.nightly
def test_schedule_of_faults_leaves_history_unchanged(
    fault_seed, ground, undisturbed, server, tmp_path
):
    rng = random.Random(fault_seed)
    names = [*rng.sample([name for name in FAULTS if name != LAST], 3)]
    if rng.random() < 0.2:
        names.append(LAST)
    waits = [rng.randrange(1, 12) for _ in names]
    postgres = rng.random() < 0.5
    command = "python -m pytest -m stack tests/integration/ga/test_ga_faults.py -k schedule"
    again = f"{command} --replay {fault_seed}"
    print(f"seed {fault_seed}: {dict(zip(names, waits, strict=True))}; again: {again}")
    store = server.database() if postgres else f"sqlite:///{tmp_path / 'ledger.db'}"
    expected = undisturbed(LONG)
    with evolving(ground, store, tmp_path, server if postgres else None, LONG) as run:
        for name, wait in zip(names, waits, strict=True):
            if cannot(ground, name, store) is None and run.go_on(wait):
                receipts = FAULTS[name].strike(run)
                print(f"{name}: {[(r.fault, r.target, r.confirmed) for r in receipts]}")
                run.receipts += receipts
        run.finish()
        assert run.receipts, "nothing was hit"
        check(run, expected)


@on_both_stores
def test_history_is_unchanged_after_head_loss(store, ground, undisturbed, request, tmp_path):
    # Workers end what they have without a head: a short run may end before it needs one.
    server = _server(request, store)
    one_fault(LAST, store, ground, undisturbed(LONG), server, tmp_path, LONG)
