"""verify, backup and restore: each must see what is wrong, and leave nothing half done."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from ga.ledger import open_ledger
from ga.ledger.schema import metadata
from ga.verification import market_of, verify
from tests.support.finished_ledger import DAMAGE, cut, ga
from tests.support.ledger_stores import change, rows


@pytest.fixture(scope="module")
def market(original):
    with closing(open_ledger(str(original), create=False)) as ledger:
        return market_of(ledger.history(ledger.runs()[0].run))


def look(store: str, market, *, sample: int = 1000):
    with closing(open_ledger(store, create=False)) as ledger:
        return verify(ledger.history(ledger.runs()[0].run), market, sample=sample)


# -- verify


def test_sound_run_is_verified(copy, market):
    found = look(copy, market)
    assert (found.lost, found.doubled, found.different, found.witnesses) == (0, 0, 0, ())
    assert found.equal
    assert (found.generations, found.individuals) == (5, 120)
    assert found.sampled == found.evaluations
    assert found.digest == found.recomputed
    assert look(copy, market, sample=7).sampled == 7
    assert look(copy, market, sample=0).equal


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_detected_counted_and_named(copy, market, damage):
    statements, kind, witness = DAMAGE[damage]
    for statement in statements.split(";"):
        change(copy, statement)
    found = look(copy, market)
    assert not found.equal
    assert getattr(found, kind) > 0
    assert any(one.startswith(f"{kind}: ") and witness in one for one in found.witnesses)


def forge(store: str) -> None:
    """Make every stored digest fit the rows, as somebody would who wants not to be found out."""
    with closing(open_ledger(store, create=False)) as ledger:
        digests = ledger.history(ledger.runs()[0].run).digests()
    for generation, digest in digests.items():
        change(store, f"UPDATE generations SET digest = '{digest}' WHERE generation = {generation}")


def test_reevaluation_detects_forged_fitness(copy, market):
    change(copy, DAMAGE["a fitness"][0])
    forge(copy)
    found = look(copy, market)
    assert found.digest == found.recomputed
    assert any("again" in one for one in found.witnesses)


def test_rebreeding_detects_forged_individual(copy, market):
    one = 'SELECT key FROM individuals WHERE generation = 3 AND "index" = 1'
    change(copy, f'UPDATE individuals SET key = ({one}) WHERE generation = 4 AND "index" = 20')
    forge(copy)
    found = look(copy, market, sample=0)
    assert any("generation 4 index 20: stored" in one for one in found.witnesses)
    # One difference, not one for all that follows.
    assert sum("stored" in one for one in found.witnesses) == 1


def test_unfinished_run_is_verified(copy, market):
    cut(copy, 3)
    found = look(copy, market)
    assert found.equal, found.witnesses
    assert found.generations == 3


SEEN_BY_THE_ENGINE = {"its fills", "its drawdown", "its genes"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_stored_rows_are_verified_without_evaluation(copy, damage):
    assert look(copy, None).equal
    for statement in DAMAGE[damage][0].split(";"):
        change(copy, statement)
    found = look(copy, None)
    assert found.equal == (damage in SEEN_BY_THE_ENGINE)
    assert (found.repeated, found.sampled) == (False, 0)


def test_verify_reports_json_and_exit_status(copy, capsys):
    run = str(rows(copy, metadata.tables["runs"])[0][0])
    status, out, _ = ga(capsys, "verify", run[:6], "--store", copy, "--json", "--sample", "5")
    found = json.loads(out)
    assert (status, found["equal"], found["run"], found["sampled"]) == (0, True, run, 5)
    change(copy, DAMAGE["an evaluation"][0])
    status, out, _ = ga(capsys, "verify", run, "--store", copy)
    assert status == 1
    assert "lost: generation 2 index 23" in out
    assert "NOT equal: " in out
    for options in (["--sample", "-1"], ["--sample", "5", "--stored"]):
        status, _, err = ga(capsys, "verify", run, "--store", copy, *options)
        assert (status, err.count("\n")) == (2, 1)


# -- backup and restore
