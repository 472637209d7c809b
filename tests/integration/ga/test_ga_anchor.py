"""An anchor over every column of a run that has ended."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ga.cli import main
from ga.errors import LedgerError
from ga.ledger import open_ledger
from ga.ledger.backup import back_up
from ga.ledger.request_check import fingerprint_of
from ga.ledger.schema import metadata
from tests.support.ledger_stores import PLAN, change, rows

RUN = "0123456789ab"
EVOLVE = [
    *("evolve", "--market", "synthetic:assets=1,bars=400,seed=1", "--mode", "local"),
    *("--workers", "1", "--population-size", "8", "--generations", "2", "--run-id", RUN),
    *("--families", "ema_crossover", "--folds", "2", "--json"),
]
TABLES = [table for table in metadata.sorted_tables if table.name not in ("requests", "anchors")]
COLUMNS = [
    (table.name, column.name)
    for table in TABLES
    for column in table.columns
    # Whose the run is, not what it is.
    if (table.name, column.name) not in (("runs", "token"), ("runs", "owner"))
]


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with one ended run, and a row in every table."""
    file = tmp_path_factory.mktemp("anchored") / "ledger.db"
    assert main.main([*EVOLVE, "--store", str(file)]) == 0
    with closing(sqlite3.connect(file)) as there, there:
        key = there.execute("SELECT key FROM evaluations").fetchone()[0]
        there.execute(
            "INSERT INTO attempts VALUES (?, 0, 0, ?, 0, 'local', 'lost', 'why', 1.5)", (RUN, key)
        )
        there.execute("INSERT INTO nodes VALUES (?, 'n', 'a', 'p', 1, ?, NULL, 1.5)", (RUN, key))
        there.execute("DELETE FROM anchors")
    with closing(open_ledger(str(file), create=False)) as ledger:
        # As at the end of a run, now that no table is empty.
        ledger.keep(RUN, ledger.strategies(RUN, 5))
    return file


@pytest.fixture
def copy(evolved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(evolved, tmp_path / "copied.db"))


def verified(file: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict]:
    capsys.readouterr()
    status = main.main(["verify", RUN, "--stored", "--store", str(file), "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def test_ended_run_matches_its_anchor(copy, capsys):
    status, found = verified(copy, capsys)
    assert (status, found["equal"], found["altered"]) == (0, True, [])
    assert len(found["anchor"]) == 64
    assert all(rows(str(copy), table) for table in TABLES)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_change_of_any_column_is_found(copy, capsys, table, column):
    kind = metadata.tables[table].columns[column].type.impl
    if isinstance(kind, sa.JSON):
        value = "'[1]'" if column in ("families", "genes") else "'{\"folds\": 3}'"
    elif isinstance(kind, sa.Text | sa.String):
        value = f"coalesce(\"{column}\", '') || '1'"
    else:
        value = f'coalesce("{column}", 0) + 1'
    with closing(sqlite3.connect(copy)) as there, there:
        first = there.execute(f"SELECT max(rowid) FROM {table}").fetchone()[0]
        there.execute(f'UPDATE {table} SET "{column}" = {value} WHERE rowid = {first}')
    capsys.readouterr()
    assert main.main(["verify", RUN, "--stored", "--store", str(copy)]) != 0
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    assert "\nequal" not in told.out


@pytest.mark.parametrize("table", [t.name for t in TABLES if t.name != "runs"])
def test_deleted_rows_are_found(copy, capsys, table):
    change(str(copy), f"DELETE FROM {table} WHERE rowid = (SELECT max(rowid) FROM {table})")
    assert verified(copy, capsys)[0] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM anchors",
        "UPDATE anchors SET digest = '0'",
        "UPDATE anchors SET tables = '{}'",
        "UPDATE anchors SET tables = '[]'",
        "UPDATE anchors SET tables = 'x'",
        "UPDATE strategies SET rank = -rank - 1",
    ],
)
def test_altered_anchor_is_found(copy, capsys, statement):
    change(str(copy), statement)
    status, found = verified(copy, capsys)
    assert (status, found["equal"]) == (1, False)
    assert found["altered"]


def test_earlier_run_has_no_anchor(copy, capsys):
    change(str(copy), "UPDATE anchors SET digest = '', tables = '{}'")
    assert main.main(["verify", RUN, "--stored", "--store", str(copy)]) == 0
    assert "no anchor: an earlier version began the run" in capsys.readouterr().out


def test_new_end_does_not_vouch_for_altered_rows(copy):
    change(str(copy), "UPDATE evaluations SET trades = trades + 1")
    with (
        closing(open_ledger(str(copy), create=False)) as ledger,
        pytest.raises(LedgerError, match="evaluations were altered after it ended"),
    ):
        ledger.keep(RUN, ledger.strategies(RUN, 5))


def test_resume_of_ended_run_keeps_its_anchor(copy, capsys):
    assert main.main(["resume", RUN, "--workers", "1", "--store", str(copy), "--json"]) == 0
    status, found = verified(copy, capsys)
    assert (status, found["altered"]) == (0, [])


def test_anchor_is_equal_in_every_database(copy, store):
    backup = copy.with_name("backup")
    with closing(open_ledger(str(copy), create=False)) as ledger:
        before = ledger.anchored(RUN)
        back_up(ledger.engine, backup)
    # PostgreSQL's URL has a password, which is refused on the command line.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GA_STORE", store)
        assert main.main(["restore", str(backup)]) == 0
    with closing(open_ledger(store, create=False)) as ledger:
        assert ledger.anchored(RUN) == before
    assert before.altered == ()


def test_run_ends_with_anchor_in_every_database(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        for generation in range(PLAN.generations):
            assert ledger.anchored(run).anchor is None
            history.commit(ledger, run, generation)
        ledger.keep(run, [])
        found = ledger.anchored(run)
        assert (len(found.anchor), found.altered) == (64, ())
        change(store, "UPDATE evaluations SET trades = trades + 1")
        assert ledger.anchored(run).altered == ("table evaluations: differs from the anchor",)


def test_run_without_individuals_is_not_equal(copy, capsys):
    for table in ("anchors", "attempts", "nodes", "strategies", "individuals", "evaluations"):
        change(str(copy), f"DELETE FROM {table}")
    change(str(copy), "DELETE FROM generations")
    change(str(copy), "UPDATE runs SET finished_at = NULL")
    assert main.main(["verify", RUN, "--stored", "--store", str(copy)]) == 1
    told = capsys.readouterr().out
    assert "nothing to compare: the run has no individual" in told
    assert "no anchor yet" in told
    assert "equal;" not in told


def test_anchor_noted_elsewhere_is_compared(copy, capsys):
    noted = verified(copy, capsys)[1]["anchor"]
    assert verified(copy, capsys, "--anchor", noted)[0] == 0
    status, found = verified(copy, capsys, "--anchor", "0" * 64)
    assert (status, found["equal"]) == (1, False)
    assert found["altered"] == [f"anchor: {noted} is not the given one"]
    assert main.main(["verify", RUN, "--anchor", "x", "--store", str(copy)]) == 2


ALTERATIONS = [
    "UPDATE evaluations SET trades = trades + 1",
    "UPDATE strategies SET holdout = 9.5",
    "DELETE FROM strategies WHERE rank = 0",
    "UPDATE runs SET created_at = created_at + 1",
    "UPDATE generations SET seconds = seconds + 1",
    "DELETE FROM anchors",
]


@pytest.mark.parametrize("statement", ALTERATIONS)
def test_altered_ledger_is_backed_up_only_with_force(copy, capsys, statement):
    file, kept = copy.with_name("b"), copy.with_name("b.1")
    backup = ("backup", str(file), "--keep", "2", "--store", str(copy))
    assert main.main([*backup]) == 0
    good = file.read_bytes()
    change(str(copy), statement)
    capsys.readouterr()
    assert main.main([*backup]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert f"run {RUN}: " in told.err
    assert "--force" in told.err
    assert (file.read_bytes(), kept.exists()) == (good, False)

    assert main.main([*backup, "--force", "--json"]) == 0
    told = capsys.readouterr()
    (altered,) = json.loads(told.out)["altered"]
    assert f"altered: {altered}" in told.err
    assert kept.read_bytes() == good
    target = copy.with_name("target.db")
    assert main.main(["restore", str(file), "--store", str(target)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n"), target.exists()) == ("", 1, False)
    assert "written by `backup --force`" in told.err
    assert altered in told.err
    assert main.main(["restore", str(file), "--force", "--store", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["altered"] == [altered]
    for table in metadata.sorted_tables:
        assert rows(str(target), table) == rows(str(copy), table)
    assert verified(target, capsys)[0] == 1


def test_force_of_whole_ledger_writes_the_same_backup(copy, capsys):
    one, two = copy.with_name("one"), copy.with_name("two")
    assert main.main(["backup", str(one), "--store", str(copy)]) == 0
    assert main.main(["backup", str(two), "--force", "--store", str(copy)]) == 0
    assert one.read_bytes() == two.read_bytes()
    assert "altered" not in "".join(capsys.readouterr())


BODY = {"market": "m", "seed": 0, "population_size": 8, "generations": 2, "folds": 2, "fee": 0.0004}


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (None, None),
        ("UPDATE requests SET body = replace(body, '\"m\"', '\"n\"')", "its fingerprint"),
        ("UPDATE requests SET fingerprint = '{zeros}'", "its fingerprint"),
        ({"seed": 1}, "its seed is not that of the run"),
        ({"population_size": 9}, "its population_size is not"),
        ({"generations": 3}, "its generations is not"),
        ({"folds": 3}, "its folds is not"),
        ({"fee": 0.5}, "its fee is not"),
        ("UPDATE runs SET finished_at = NULL", "is finished, but its run has not ended"),
    ],
)
def test_altered_request_is_found(copy, capsys, statement, found):
    with closing(sqlite3.connect(copy)) as there, there:
        (settings,) = there.execute("SELECT settings FROM runs").fetchone()
        # Also the fee that the run has, whatever the default is.
        body = {**BODY, "fee": json.loads(settings)["costs"]["fee"]}
        if isinstance(statement, dict):
            body |= statement
        there.execute(
            "INSERT INTO requests VALUES (?, 'one', ?, ?, 'finished', 1, NULL, 1.5, 2.5)",
            (RUN, fingerprint_of(body), json.dumps(body)),
        )
        if isinstance(statement, str):
            there.execute(statement.format(zeros="0" * 64))
    status, said = verified(copy, capsys)
    if found is None:
        assert (status, said["altered"]) == (0, [])
    else:
        assert status == 1
        assert any(found in one for one in said["altered"])
