"""A restored ledger is compared in every table, column and row that the databases list."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from ga.cli.main import main
from validation.stages.ledger_copies import Comparison, compare, database_of, fill, moment
from validation.stages.ledger_tables import MAY_DIFFER, OWN_TO_A_RUN, opened


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a finished run, and rows in every table."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    assert main(evolve(path, seed=3)) == 0
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture
def source(original: Path, tmp_path: Path) -> str:
    return copied(original, tmp_path / "source.db")


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> str:
    return copied(original, tmp_path / "copy.db")


def evolve(path: Path, *, seed: int, generations: int = 3) -> list[str]:
    return [
        *("evolve", "--market", "synthetic:assets=1,bars=400,seed=2", "--mode", "local"),
        *("--workers", "1", "--seed", str(seed), "--population-size", "6", "--json"),
        *("--generations", str(generations), "--store", f"sqlite:///{path}"),
    ]


def copied(path: Path, to: Path) -> str:
    shutil.copy(path, to)
    return f"sqlite:///{to}"


@contextmanager
def database(store: str) -> Iterator[tuple[sa.Connection, sa.MetaData]]:
    engine = sa.create_engine(store)
    tables = sa.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        yield connection, tables
    engine.dispose()


def compared(source: str, copy: str) -> Comparison:
    return compare(source, copy, moment(source))


def other(value: object) -> object:
    """A value of the same type that differs as little as it can."""
    if value is None:
        return 1
    if isinstance(value, bool | int):
        return int(value) + 1_000_000
    if isinstance(value, float):
        return math.nextafter(value, math.inf)
    if isinstance(value, str):
        return value[:-1] + ("x" if value[-1:] != "x" else "y")
    if isinstance(value, list):
        return [*value, 0.5]
    assert isinstance(value, dict)
    return {**value, "more": 1}


def test_every_table_is_filled_and_equal(source: str, copy: str) -> None:
    found = compared(source, copy)
    assert found.differing == []
    assert all(found.rows.values())
    assert {"attempts", "nodes", "requests", "strategies", "alembic_version"} <= found.rows.keys()


def test_one_changed_value_of_any_column_is_found(source: str, copy: str) -> None:
    with database(source) as (_, tables):
        listed = [(t.name, c.name) for t in tables.sorted_tables for c in t.columns]
    assert len(listed) > 40
    path = Path(copy.removeprefix("sqlite:///"))
    whole = path.read_bytes()
    for table, column in listed:
        path.write_bytes(whole)
        with database(copy) as (connection, tables):
            it = tables.tables[table]
            key = first_key(connection, it)
            where = [c == value for c, value in zip(it.primary_key, key, strict=True)]
            (value,) = connection.execute(sa.select(it.c[column]).where(*where)).one()
            connection.execute(sa.update(it).where(*where).values({column: other(value)}))
        found = compared(source, copy).differing
        # A row with another key is a row too few and one too many.
        named = (f"{table}.{column}: 1 values", f"{table}: ")
        assert any(text.startswith(named) for text in found), (table, column, found)


def first_key(connection: sa.Connection, table: sa.Table) -> tuple[object, ...]:
    return tuple(connection.execute(sa.select(*table.primary_key).limit(1)).one())


@pytest.mark.parametrize("table", ["attempts", "strategies", "nodes", "requests", "individuals"])
def test_missing_rows_and_tables_are_found(source: str, copy: str, table: str) -> None:
    with database(copy) as (connection, tables):
        connection.execute(sa.delete(tables.tables[table]))
    found = compared(source, copy).differing
    assert found
    assert all(text.startswith(f"{table}: ") and "rows missing" in text for text in found)
    with database(copy) as (connection, tables):
        tables.tables[table].drop(connection)
    assert compared(source, copy).differing == [f"table {table} is missing"]


def test_forgotten_column_is_found(source: str, copy: str) -> None:
    with database(copy) as (connection, _):
        connection.exec_driver_sql("ALTER TABLE evaluations DROP COLUMN max_drawdown")
    (found,) = compared(source, copy).differing
    assert found == "evaluations: columns max_drawdown are in one of the two only"


def test_table_unknown_to_the_engine_is_compared(source: str, copy: str) -> None:
    for store in (source, copy):
        with database(store) as (connection, _):
            connection.exec_driver_sql("CREATE TABLE later (id INTEGER PRIMARY KEY, word TEXT)")
            connection.exec_driver_sql("INSERT INTO later VALUES (1, 'a'), (2, 'b')")
    assert compared(source, copy).rows["later"] == 2
    with database(copy) as (connection, _):
        connection.exec_driver_sql("UPDATE later SET word = 'c' WHERE id = 2")
    assert compared(source, copy).differing == ["later.word: 1 values ([2])"]


def test_running_backup_is_compared_up_to_its_generation(source: str, copy: str) -> None:
    with database(source) as (connection, tables):
        (run,) = connection.execute(sa.select(tables.tables["runs"].c.run)).one()
    then = moment(source)
    assert then.finished == {run}
    then = type(then)(finished=frozenset(), unfinished=frozenset({run}))
    with database(copy) as (connection, tables):
        for name in ("attempts", "individuals", "evaluations", "generations"):
            it = tables.tables[name]
            connection.execute(sa.delete(it).where(it.c.generation > 1))
        connection.execute(sa.delete(tables.tables["strategies"]))
        connection.execute(
            sa.update(tables.tables["runs"]).values(finished_at=None, token=7, owner="me")
        )
    assert compare(source, copy, then).differing == []
    with database(copy) as (connection, tables):
        it = tables.tables["evaluations"]
        (key,) = connection.execute(sa.select(it.c.key).where(it.c.generation == 1).limit(1)).one()
        connection.execute(sa.update(it).where(it.c.key == key).values(trades=-1))
        connection.execute(sa.update(tables.tables["runs"]).values(seed="9"))
    found = compare(source, copy, then).differing
    assert [text.split(":")[0] for text in found] == ["evaluations.trades", "runs.seed"]


def test_lost_run_of_a_backup_is_found(original: Path, tmp_path: Path, copy: str) -> None:
    source = copied(original, tmp_path / "two.db")
    assert main(evolve(tmp_path / "two.db", seed=4)) == 0
    assert any(text.startswith("runs: 1 rows missing") for text in compared(source, copy).differing)
    # A run that was begun after the backup is not missing in it.
    assert compare(source, copy, moment(copy)).differing == []


def test_backup_moves_between_databases_unchanged(
    source: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = f"sqlite:///{tmp_path / 'back.db'}"
    for number, (before, after) in enumerate(((source, store), (store, back))):
        file = str(tmp_path / f"backup-{number}")
        monkeypatch.setenv("GA_STORE", before)
        # Rows were made up after the run had ended.
        assert main(["backup", file, "--force"]) == 0
        monkeypatch.setenv("GA_STORE", after)
        assert main(["restore", file, "--force"]) == 0
        found = compared(before, after)
        assert found.differing == []
        assert all(found.rows.values())
    assert database_of(store) in ("sqlite", "postgresql")


def test_only_named_columns_and_tables_are_left_out(source: str) -> None:
    """A column that a later version adds is compared at once; one that is gone is not named."""
    with opened(source) as tables:
        known = {name: set(table.columns) for name, table in tables.by_name.items()}
    assert known.keys() >= OWN_TO_A_RUN
    for name, left_out in MAY_DIFFER.items():
        assert left_out <= known[name]
    compared_columns = {
        (name, column)
        for name, names in known.items()
        if name not in OWN_TO_A_RUN
        for column in names - MAY_DIFFER.get(name, frozenset())
    }
    assert {
        ("evaluations", "fitness"),
        ("evaluations", "trades"),
        ("evaluations", "max_drawdown"),
        ("evaluations", "genes"),
        ("evaluations", "error"),
        ("strategies", "holdout"),
        ("strategies", "in_sample"),
        ("strategies", "out_of_sample"),
        ("generations", "digest"),
        ("runs", "settings"),
    } <= compared_columns
