"""restore: whatever the file holds, it is one line, and the target stays as it was."""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ga.cli import main
from ga.ledger import open_ledger
from ga.ledger.backup import back_up
from ga.ledger.schema import metadata
from tests.support.ledger_stores import PLAN, History, change, rows

Files = dict[str, bytes]
ANY = st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats() | st.text(max_size=9)
NESTED = st.recursive(ANY, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@pytest.fixture(scope="module")
def good(market, tmp_path_factory) -> Path:
    """A backup of a ledger with one ended and one unfinished run."""
    folder = tmp_path_factory.mktemp("good")
    with closing(open_ledger(str(folder / "ledger.db"), create=True)) as ledger:
        for generations in (PLAN.generations, 2):
            history = History(market)
            run = history.begin(ledger)
            for generation in range(generations):
                history.commit(ledger, run, generation)
        back_up(ledger.engine, folder / "good")
    return folder / "good"


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    """A ledger without rows, which holds its tables only."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    open_ledger(str(path), create=True).close()
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """A file of SQLite of another program."""
    path = tmp_path_factory.mktemp("other") / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("INSERT INTO users VALUES ('ann')")
    return path


def sealed(content: bytes) -> bytes:
    """A backup with these lines, compressed, and with the hash that they have."""
    packed = gzip.compress(content, mtime=0)
    return b"evolution-gate/backup/1 " + sha256(packed).hexdigest().encode() + b"\n" + packed


def lines_of(backup: bytes) -> list[bytes]:
    return gzip.decompress(backup.partition(b"\n")[2]).splitlines(keepends=True)


def refused(file: Path, folder: Path, empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Restore into a target of every kind: none of them changes."""
    for kind in ("new", "empty ledger", "empty file"):
        target = folder / "target.db"
        if kind == "empty ledger":
            shutil.copy(empty, target)
        elif kind == "empty file":
            target.touch()
        before = state(folder)
        capsys.readouterr()
        status = main.main(["restore", str(file), "--store", str(target)])
        told = capsys.readouterr()
        assert (status, told.out, told.err.count("\n")) == (2, "", 1), (kind, told.err)
        assert "Traceback" not in told.err
        assert state(folder) == before, kind
        target.unlink(missing_ok=True)


def state(folder: Path) -> tuple[list[str], object]:
    """The files of a folder, and all that a ledger in it holds."""
    names = sorted(path.name for path in folder.iterdir())
    target = folder / "target.db"
    if not target.exists():
        return names, None
    with closing(sqlite3.connect(target)) as connection:
        return names, "\n".join(connection.iterdump())


def _flip(content: bytearray, draw: Callable[..., int]) -> None:
    content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))


def _cut(content: bytearray, draw: Callable[..., int]) -> None:
    del content[draw(st.integers(0, len(content) - 1)) :]


def _grow(content: bytearray, draw: Callable[..., bytes]) -> None:
    content += draw(st.binary(min_size=1, max_size=9))


@seed(20)
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_bytes_are_refused(good, empty, tmp_path_factory, capsys, data):
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(good.read_bytes())
    data.draw(st.sampled_from([_flip, _cut, _grow]))(content, data.draw)
    file = folder / "damaged"
    file.write_bytes(content)
    refused(file, folder, empty, capsys)


@seed(21)
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_lines_under_right_hash_are_refused(good, empty, tmp_path_factory, capsys, data):
    """As by a defective program, which computes the hash of what it wrote."""
    folder = tmp_path_factory.mktemp("forged")
    lines = lines_of(good.read_bytes())
    at = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(["drop", "double", "cut", "other", "value", "bits"]))
    if how == "drop":
        del lines[at]
    elif how == "double":
        lines.insert(at, lines[at])
    elif how == "cut":
        lines[at] = lines[at][: data.draw(st.integers(1, len(lines[at]) - 2))]
    elif how == "other":
        lines[at] = json.dumps(data.draw(NESTED)).encode() + b"\n"
    elif how == "value":
        at = data.draw(st.integers(1, len(lines) - 1))
        table, values = json.loads(lines[at])
        column = data.draw(st.integers(0, len(values) - 1))
        # Who owned a run is not part of what it is.
        if (table, list(metadata.tables[table].columns.keys())[column]) in (
            ("runs", "token"), ("runs", "owner")
        ):  # fmt: skip
            column = 0
        values[column] = data.draw(NESTED.filter(lambda new: new != values[column]))
        lines[at] = json.dumps([table, values]).encode() + b"\n"
    else:
        damaged = bytearray(lines[at])
        _flip(damaged, data.draw)
        lines[at] = bytes(damaged)
    file = folder / "forged"
    file.write_bytes(sealed(b"".join(lines)))
    if not _same(lines, lines_of(good.read_bytes())):
        refused(file, folder, empty, capsys)
        return
    target = folder / "target.db"
    status = main.main(["restore", str(file), "--store", str(target)])
    assert (status, target.exists()) in ((0, True), (2, False))
    assert capsys.readouterr().err.count("\n") == status // 2


def _same(lines: list[bytes], before: list[bytes]) -> bool:
    """Whether the lines say the same about every run that ended, and are a ledger: what is stored
    of a run that has not ended has no anchor yet.
    """
    try:
        found = [json.loads(line) for line in lines]
        ended = {row[0] for name, row in map(json.loads, before[1:]) if name == "anchors"}
        mine = [row for row in found[1:] if row[1][0] in ended]
        theirs = [row for row in map(json.loads, before[1:]) if row[1][0] in ended]
        return found[0] == json.loads(before[0]) and mine == theirs
    except (ValueError, TypeError, LookupError):
        return False


@pytest.mark.parametrize("content", [
    b"", b"\n", b"\0" * 5000, b"evolution-gate/backup/1 ", b"evolution-gate/backup/2 " + b"0" * 65,
    gzip.compress(b"{}", mtime=0), b"PK\3\4" + b"\0" * 100,
    sealed(b""), sealed(b"\n"), sealed(b"null\n"),
    sealed(b"[" * 100_000), sealed(b'{"altered": 5}\n'), sealed(b'{"altered": ["x"]}\n'),
    sealed(b"\xff" * 100),
])  # fmt: skip
def test_file_of_another_program_is_refused(content, empty, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_bytes(content)
    refused(file, tmp_path, empty, capsys)


def test_database_is_no_backup(other, empty, tmp_path, capsys):
    for file in (other, empty, Path("/dev/null")):
        refused(file, tmp_path, empty, capsys)


def test_refused_restore_makes_no_tables(good, store, tmp_path, monkeypatch, capsys):
    lines = lines_of(good.read_bytes())
    file = tmp_path / "forged"
    file.write_bytes(sealed(b"".join(lines[:-1])))
    monkeypatch.setenv("GA_STORE", store)
    for _ in range(2):
        capsys.readouterr()
        assert main.main(["restore", str(file)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        with pytest.raises(ValueError, match=r"no such file|holds no ledger"):
            open_ledger(store, create=False)
    assert main.main(["restore", str(good)]) == 0
    before = {table.name: rows(store, table) for table in metadata.sorted_tables}
    assert main.main(["restore", str(good)]) == 2
    assert {table.name: rows(store, table) for table in metadata.sorted_tables} == before


def test_full_volume_leaves_no_file(good, tmp_path, monkeypatch, capsys):
    """SQLite refuses to grow the file, as on a full volume."""
    connect = sqlite3.connect

    def small(*args, **options):
        made = connect(*args, **options)
        made.execute("PRAGMA max_page_count = 5")
        return made

    monkeypatch.setattr(sqlite3, "connect", small)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", small)
    assert main.main(["restore", str(good), "--store", str(tmp_path / "target.db")]) == 2
    assert "full" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_restore_keeps_what_is_there(good, empty, tmp_path, capsys):
    target = tmp_path / "target.db"
    shutil.copy(empty, target)
    change(str(target), "INSERT INTO requests VALUES ('0123456789ab', 'k', "
           f"'{'0' * 64}', '{{}}', 'queued', 0, NULL, 1.5, NULL)")  # fmt: skip
    before = state(tmp_path)
    assert main.main(["restore", str(good), "--store", str(target)]) == 2
    assert "holds requests already" in capsys.readouterr().err
    assert state(tmp_path) == before
