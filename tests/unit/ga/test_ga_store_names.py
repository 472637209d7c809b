"""The file that ``--store`` names is the file that is written, whole, or it is refused."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from evolution_gate.fixtures.faults import disk_full
from ga.cli import main
from ga.errors import InputError, LedgerError
from ga.ledger import migrate, open_ledger
from ga.ledger.connection import explained_database_errors
from ga.store_url import url_of


@pytest.mark.parametrize("name", ["a?b.db", "50%41.db", "x#y.db", "a b.db", "file:x.db", "ü.db"])
def test_store_writes_exactly_the_named_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for store in (name, str(tmp_path / "sub" / name)):
        (tmp_path / "sub").mkdir(exist_ok=True)
        open_ledger(store, create=True).close()
        open_ledger(store, create=False).close()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "sub"])
    assert [p.name for p in (tmp_path / "sub").iterdir()] == [name]


@pytest.mark.parametrize(
    ("store", "remedy"),
    [
        ("sqlite:///a?b.db", "give the file alone"),
        ("sqlite:///50%41.db", "give the file alone"),
        ("sqlite:///a#b.db", "give the file alone"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite://", "three slashes"),
        ("sqlite:///", "three slashes"),
        ("sqlite:x.db://", "three slashes"),
    ],
)
def test_ambiguous_sqlite_url_is_refused(tmp_path, monkeypatch, capsys, store, remedy):
    monkeypatch.chdir(tmp_path)
    assert main.main(["runs", "--store", store]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert remedy in err
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_no_partial_ledger():
    if why := disk_full.unavailable():
        pytest.skip(why)
    with disk_full.small(1 << 18) as small:
        store = str(small.path / "l.db")
        with pytest.raises(InputError, match=r"disk is full\); make space"):
            open_ledger(store, create=True)
        assert list(small.path.iterdir()) == []


def test_interrupted_creation_leaves_no_ledger(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alembic.command.upgrade", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_ledger(str(tmp_path / "l.db"), create=True)
    assert list(tmp_path.iterdir()) == []


def test_concurrently_created_ledger_is_kept(tmp_path, monkeypatch):
    path, link = tmp_path / "l.db", os.link

    def overtaken(draft: Path, to: Path) -> None:
        link(draft, to)
        with closing(sqlite3.connect(to)) as other, other:
            other.execute("CREATE TABLE theirs (x)")
        link(draft, to)

    monkeypatch.setattr(migrate.os, "link", overtaken)
    open_ledger(str(path), create=True).close()
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("SELECT count(*) FROM sqlite_master WHERE name = 'theirs'").fetchone()[
            0
        ]
    assert [p.name for p in tmp_path.iterdir()] == ["l.db"]


def test_file_system_without_hard_links_works(tmp_path, monkeypatch):
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(migrate.os, "link", none)
    open_ledger(str(tmp_path / "l.db"), create=True).close()
    open_ledger(str(tmp_path / "l.db"), create=False).close()
    assert [p.name for p in tmp_path.iterdir()] == ["l.db"]


def test_later_database_error_is_one_line(tmp_path):
    store = str(tmp_path / "l.db")
    open_ledger(store, create=True).close()
    with closing(sqlite3.connect(store)) as other, other:
        other.execute("DROP TABLE individuals")
        other.execute("DROP TABLE generations")
    with (
        pytest.raises(LedgerError, match=r"l\.db: failed \(no such table: generations\)"),
        explained_database_errors(store),
        closing(open_ledger(store, create=False)) as ledger,
    ):
        ledger.first_difference("0" * 12)


@pytest.fixture
def silent() -> int:
    """A port whose server says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_unresponsive_postgresql_is_one_line_error(monkeypatch, capsys, silent):
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    store = f"postgresql://u@127.0.0.1:{silent}/x?connect_timeout=2"
    assert main.main(["runs", "--store", store]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "(connection timeout expired); check that the server is up" in err


def test_libpq_variables_are_named_in_error(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("PGSERVICE", "nowhere")
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("PGPASSWORD", "geheim")
    assert main.main(["runs", "--store", f"postgresql://u@127.0.0.1:{port}/x"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "PGSERVICE, PGSSLMODE are set in your shell and may be the cause" in err
    assert "geheim" not in err
    assert "PGPASSWORD" not in err


def test_plain_name_is_not_a_url():
    assert url_of("a?mode=memory").database == "a?mode=memory"
