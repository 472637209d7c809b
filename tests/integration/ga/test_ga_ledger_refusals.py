"""What is no ledger, or cannot be written, is refused in one line and stays as it is."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from ga.cli import main
from ga.ledger import open_ledger
from ga.ledger.connection import engine_of
from ga.store_url import url_of
from tests.support.ledger_stores import change

EVOLVE = [
    *("evolve", "--market", "synthetic:assets=1,bars=400,seed=1", "--mode", "local"),
    *("--workers", "1", "--population-size", "8", "--generations", "2"),
    *("--families", "ema_crossover", "--folds", "2"),
]
COMMANDS = {
    "evolve": EVOLVE,
    "runs": ["runs"],
    "strategies": ["strategies"],
    "show": ["show", "abcdef"],
    "resume": ["resume", "abcdef"],
    "verify": ["verify", "abcdef", "--stored"],
    "prune": ["prune", "--older-than", "0", "--yes"],
    "backup": ["backup", "no-backup"],
}
OTHERS = {
    "one table": ["CREATE TABLE users (name TEXT)", "INSERT INTO users VALUES ('ann')"],
    "also migrated by alembic": [
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('7ac2f3b1')",
        "CREATE TABLE users (name TEXT)",
    ],
    "also with runs": [
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('0007')",
        "CREATE TABLE runs (run_uuid VARCHAR(32), status TEXT)",
        "CREATE TABLE experiments (name TEXT)",
    ],
    "with a version only": [
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('0007')",
    ],
}


def contents(store: str) -> dict[str, list[tuple[object, ...]]]:
    """Table -> its rows, and an SQLite file's bytes, to compare."""
    url = url_of(store)
    if url.drivername == "sqlite":
        path = Path(str(url.database))
        names = sorted(p.name for p in path.parent.iterdir())
        return {"bytes": [(path.read_bytes(), *names)]}
    engine = engine_of(url)
    with engine.connect() as connection:
        found = sa.MetaData()
        found.reflect(connection)
        rows = {
            name: [tuple(row) for row in connection.execute(sa.select(table))]
            for name, table in found.tables.items()
        }
    engine.dispose()
    return rows


def plant(store: str, statements: list[str]) -> None:
    url = url_of(store)
    if url.drivername == "sqlite":
        with closing(sqlite3.connect(str(url.database))) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return
    for statement in statements:
        change(store, statement)


def refused(capsys: pytest.CaptureFixture[str], command: str, *words: str) -> None:
    capsys.readouterr()
    assert main.main(COMMANDS[command]) == 2
    told = capsys.readouterr()
    # A market is described before the store is opened.
    line = told.err.splitlines()[-1]
    assert line.startswith("ga: --store ")
    assert "Traceback" not in told.err
    if command != "evolve":
        assert told.err.count("\n") == 1
    for word in words:
        assert word in line, line


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("other", OTHERS)
def test_database_of_another_program_is_left_alone(store, capsys, monkeypatch, other, command):
    monkeypatch.setenv("GA_STORE", store)
    plant(store, OTHERS[other])
    before = contents(store)
    refused(capsys, command, "tables of another program", "give another file")
    assert contents(store) == before


def test_restore_leaves_database_of_another_program_alone(store, capsys, monkeypatch, tmp_path):
    backup, source = tmp_path / "backup" / "b", tmp_path / "backup" / "source.db"
    backup.parent.mkdir()
    open_ledger(str(source), create=True).close()
    assert main.main(["backup", str(backup), "--store", str(source)]) == 0
    monkeypatch.setenv("GA_STORE", store)
    plant(store, OTHERS["one table"])
    before = contents(store)
    capsys.readouterr()
    assert main.main(["restore", str(backup)]) == 2
    assert "tables of another program" in capsys.readouterr().err
    assert contents(store) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_ledger_with_empty_version_is_refused(store, capsys, monkeypatch, command):
    monkeypatch.setenv("GA_STORE", store)
    open_ledger(store, create=True).close()
    change(store, "DELETE FROM alembic_version")
    refused(capsys, command, "alembic_version is empty", "restore a backup into a new ledger")


def test_empty_version_alone_is_a_new_database(store, capsys, monkeypatch):
    monkeypatch.setenv("GA_STORE", store)
    plant(store, ["CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"])
    refused(capsys, "runs", "holds no ledger")
    with closing(open_ledger(store, create=True)) as ledger:
        assert ledger.runs() == []


def _as_user() -> None:
    """In the child: give up root's right to ignore the rights of files (CAP_DAC_OVERRIDE and
    CAP_DAC_READ_SEARCH), once the program is executed.
    """
    for right in (1, 2):
        ctypes.CDLL(None).prctl(24, right, 0, 0, 0)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder for a ledger, which can be removed at the end."""
    folder = tmp_path / "locked"
    folder.mkdir()
    yield folder
    folder.chmod(0o755)


@pytest.mark.parametrize(
    ("file", "folder", "command", "status"),
    [
        (0o444, 0o555, "runs", 2),
        (0o000, 0o755, "runs", 2),
        (0o644, 0o555, "runs", 2),
        (0o444, 0o755, "prune", 1),
        (None, 0o555, "evolve", 2),
        (0o444, 0o555, "backup", 2),
    ],
)
def test_ledger_that_cannot_be_written_is_one_line(locked, file, folder, command, status):
    store = locked / "ledger.db"
    if file is not None:
        open_ledger(str(store), create=True).close()
        with closing(sqlite3.connect(store)) as connection, connection:
            # Something to prune.
            connection.execute(
                "INSERT INTO requests VALUES ('0123456789ab', 'k', ?, '{}', 'finished', 0, NULL,"
                " 1.5, 2.5)",
                ("0" * 64,),
            )
        before = store.read_bytes()
        store.chmod(file)
    locked.chmod(folder)
    done = subprocess.run(
        [sys.executable, "-m", "ga", *COMMANDS[command], "--store", str(store)],
        capture_output=True, text=True, timeout=120, cwd=locked.parent,
        preexec_fn=_as_user if os.geteuid() == 0 else None,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"ga: --store sqlite:///{store}: ")
    assert "can be written" in line
    assert "Traceback" not in done.stderr
    locked.chmod(0o755)
    if file is None:
        assert not store.exists()
    else:
        store.chmod(0o644)
        assert store.read_bytes() == before


@pytest.mark.parametrize("command", ["runs", "prune", "backup"])
def test_full_output_is_one_line(tmp_path, command):
    """stdout on a full volume, and closed."""
    store = tmp_path / "ledger.db"
    open_ledger(str(store), create=True).close()
    argv = [sys.executable, "-m", "ga", *COMMANDS[command], "--store", str(store)]
    # Only listed, so that the next call finds the same.
    argv = [one for one in argv if one != "--yes"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, cwd=tmp_path
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "ga: stdout: cannot be written (No space left on device); free some space, or redirect it"
    ]
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *argv],
        stderr=subprocess.PIPE, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, "")


def test_full_log_is_one_line(tmp_path, capsys):
    store = str(tmp_path / "ledger.db")
    assert main.main([*EVOLVE, "--log", "/dev/full", "--store", store]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("ga: --log /dev/full: cannot be written (No space left on device)")


def test_backup_never_replaces_a_device(tmp_path, capsys):
    store = str(tmp_path / "ledger.db")
    open_ledger(store, create=True).close()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place in (pipe, tmp_path):
        assert main.main(["backup", str(place), "--store", store]) == 2
        assert "is a folder, a pipe or a device" in capsys.readouterr().err
    assert pipe.is_fifo()
