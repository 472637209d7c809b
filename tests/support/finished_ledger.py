"""A finished run in a ledger: copies to damage, and what damages them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ga.cli import main
from ga.ledger.schema import metadata
from tests.support.ledger_stores import change, rows

MARKET = "synthetic:assets=1,bars=500,seed=2"


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    """A ledger with one finished run of 5 x 24; not to be changed."""
    path = tmp_path_factory.mktemp("finished") / "ledger.db"
    arguments = ["evolve", "--market", MARKET, "--seed", "3", "--mode", "local", "--workers", "1"]
    arguments += ["--population-size", "24", "--generations", "5", "--store", str(path)]
    assert main.main(arguments) == 0
    return path


@pytest.fixture
def copy(original, tmp_path) -> str:
    """The URL of a copy of the original, to be damaged."""
    return f"sqlite:///{shutil.copy(original, tmp_path / 'copy.db')}"


def everything(store: str) -> dict[str, list[tuple[object, ...]]]:
    return {name: rows(store, table) for name, table in metadata.tables.items()}


ANY = '(SELECT key FROM individuals WHERE generation = 2 AND "index" = 23)'
DAMAGE = {
    "an individual": ('DELETE FROM individuals WHERE generation = 2 AND "index" = 5', "lost",
                      "generation 2 index 5: no individual"),
    "an evaluation": (f"DELETE FROM evaluations WHERE key = {ANY}", "lost",
                      "generation 2 index 23: no evaluation"),
    "a generation": ("DELETE FROM generations WHERE generation = 2", "lost",
                     "generation 2, with later ones there"),
    "the last generation's summary": ("DELETE FROM generations WHERE generation = 4", "lost",
                                      "generation 4, with later ones there"),
    "a generation's individuals": ("DELETE FROM individuals WHERE generation = 3", "lost",
                                   "generation 3 index 0: no individual"),
    "one too many": ("INSERT INTO individuals SELECT run, generation, 24, key FROM individuals"
                     ' WHERE generation = 1 AND "index" = 0', "doubled",
                     "generation 1 index 24: not in the plan"),
    "a stray": ("INSERT INTO evaluations SELECT run, 'ab' || substr(key, 3), family, genes,"
                " fitness, trades, max_drawdown, error, generation, attempts FROM evaluations"
                f" WHERE key = {ANY}",
                "doubled", "no individual's"),
    "a fitness": ("UPDATE evaluations SET fitness = fitness * 1.0000000000000004"
                  f" WHERE key = {ANY}",
                  "different", "generation 2: digest"),
    "its fills": (f"UPDATE evaluations SET trades = trades + 1 WHERE key = {ANY}", "different",
                  "again"),
    "its drawdown": (f"UPDATE evaluations SET max_drawdown = max_drawdown * 1.0000000000000004"
                     f" + 1e-300 WHERE key = {ANY}", "different", "again"),
    "its genes": (f"UPDATE evaluations SET genes = replace(genes, '.', '.1') WHERE key = {ANY}",
                  "different", "the key of its genome"),
    "its generation": (f"UPDATE evaluations SET generation = 3 WHERE key = {ANY}", "different",
                       "of generation 3, first used in"),
    "a digest": ("UPDATE generations SET digest = replace(digest, 'a', 'b') WHERE generation = 1",
                 "different", "generation 1: digest"),
    "a count": ("UPDATE generations SET failed = 1 WHERE generation = 1", "different",
                "generation 1: 1 failed, by its rows 0"),
    "the end": ("UPDATE runs SET finished_at = NULL", "different", "unfinished at 5 of 5"),
    "the order": ('UPDATE individuals SET "index" = "index" + 1000 WHERE generation = 2;'
                  'UPDATE individuals SET "index" = 1023 - "index" WHERE generation = 2',
                  "different", "generation 2 index 0: stored"),
    "a failure": (f"UPDATE evaluations SET error = 'planted' WHERE key = {ANY}", "different",
                  "must have a fitness or an error"),
    "a try": ("INSERT INTO attempts SELECT run, 1, 0, 'ab', 0, 'local', 'lost', NULL, 1.0"
              " FROM runs",
              "different", "a try at ab"),
}  # fmt: skip


def cut(store: str, generations: int) -> None:
    """Leave what a coordinator had committed that was killed after so many generations."""
    for table in ("individuals", "generations", "evaluations"):
        change(store, f"DELETE FROM {table} WHERE generation >= {generations}")
    for table in ("strategies", "anchors"):
        change(store, f"DELETE FROM {table}")
    change(store, "UPDATE runs SET finished_at = NULL")


def ga(capsys, *argv: str) -> tuple[int, str, str]:
    status = main.main(list(argv))
    return (status, *capsys.readouterr())
