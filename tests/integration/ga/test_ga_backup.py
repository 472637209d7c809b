"""backup and restore: each must see what is wrong, and leave nothing half done."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ga.cli import main
from ga.errors import InputError, LedgerError
from ga.evolution import advance_digest
from ga.ledger import Attempt, open_ledger
from ga.ledger.backup import back_up, checked, restore
from ga.ledger.schema import metadata
from tests.support.finished_ledger import DAMAGE, cut, everything, ga
from tests.support.ledger_stores import change, rows


def test_backup_restores_every_row(copy, store, tmp_path):
    """From SQLite to each store, and from there back to SQLite."""
    with closing(open_ledger(copy, create=False)) as ledger:
        run = ledger.runs()[0].run
        for table in ("generations", "individuals", "evaluations"):
            change(copy, f"DELETE FROM {table} WHERE generation = 4")
        change(copy, "DELETE FROM anchors")
        change(copy, "UPDATE runs SET finished_at = NULL")
        key = ledger.individuals(run, 3)[0][1].key
        before = everything(copy)
        back_up(ledger.engine, tmp_path / "one", keep=None)
    with checked(tmp_path / "one") as file:
        counts = restore(store, file, tmp_path / "one").rows
        assert counts == {name: len(found) for name, found in before.items()}
    with closing(open_ledger(store, create=False)) as ledger:
        assert everything(store) == before
        odd = Attempt(key=key, attempt=1, node="n1", outcome="lost", error="línea\n\\N \t'", at=0.1)
        population, outcomes = zip(*ledger.individuals(run, 3), strict=True)
        ledger.commit(
            run, generation=4, population=population, outcomes=outcomes, fresh={},
            digest=advance_digest(ledger.run(run).digest, outcomes), seconds=1.0, mode="local",
            last=True, tried=[odd],
        )  # fmt: skip
        before = everything(store)
        assert len(before["attempts"]) == 1
        back_up(ledger.engine, tmp_path / "two", keep=None)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    with checked(tmp_path / "two") as file:
        restore(back, file, tmp_path / "two")
    assert everything(back) == before


@pytest.fixture(scope="module")
def backup(original, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("backup") / "good"
    with closing(open_ledger(str(original), create=False)) as ledger:
        back_up(ledger.engine, path)
    return path


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_backup_is_refused(backup, tmp_path, data):
    content = bytearray(backup.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 120), label="at")
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "append", "drop"]), label="how")
    if how == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    elif how == "cut":
        del content[at:]
    elif how == "insert":
        content[at:at] = b"\0"
    elif how == "append":
        content += b"\n"
    else:
        del content[at]
    damaged, store = tmp_path / "damaged", tmp_path / "new.db"
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|not a backup"):
        checked(damaged)
    assert main.main(["restore", str(damaged), "--store", str(store)]) == 2
    assert not store.exists()


def forged(backup: Path, path: Path, change: Callable[[list[bytes]], None]) -> Path:
    """A backup whose lines were changed and whose checksum is right."""
    head, _, content = backup.read_bytes().partition(b"\n")
    lines = gzip.decompress(content).splitlines(keepends=True)
    change(lines)
    content = gzip.compress(b"".join(lines), mtime=0)
    path.write_bytes(
        head.rpartition(b" ")[0] + b" " + sha256(content).hexdigest().encode() + b"\n" + content
    )
    return path


def test_backup_of_other_version_is_refused(backup, tmp_path):
    def rename(lines: list[bytes]) -> None:
        lines[0] = lines[0].replace(b'"market_hash"', b'"hash_of_market"')

    with pytest.raises(InputError, match="written by another version"):
        checked(forged(backup, tmp_path / "forged", rename))


def test_restore_needs_an_empty_ledger(copy, backup, capsys):
    before = everything(copy)
    status, _, err = ga(capsys, "restore", str(backup), "--store", copy)
    assert (status, err.count("\n")) == (2, 1)
    assert "holds runs already" in err
    assert everything(copy) == before


def test_rows_with_wrong_digest_are_not_restored(backup, store, tmp_path):
    def drop(lines: list[bytes]) -> None:
        del lines[max(n for n, line in enumerate(lines) if line.startswith(b'["individuals"'))]

    path = forged(backup, tmp_path / "forged", drop)
    with (
        checked(path) as file,
        pytest.raises(InputError, match="does not agree with its digest"),
    ):
        restore(store, file, path)
    with pytest.raises(InputError, match=r"no such file|holds no ledger"):
        open_ledger(store, create=False)


def test_damaged_ledger_does_not_replace_good_backup(copy, tmp_path):
    file = tmp_path / "b"
    with closing(open_ledger(copy, create=False)) as ledger:
        back_up(ledger.engine, file, keep=2)
        good = file.read_bytes()
        change(copy, DAMAGE["a fitness"][0])
        with pytest.raises(LedgerError, match="generation 2 does not agree with its digest"):
            back_up(ledger.engine, file, keep=2)
    assert file.read_bytes() == good
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith((".b", "b"))) == ["b"]


def test_backup_during_run_is_a_snapshot(store, history, tmp_path):
    stop, seen = threading.Event(), []
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)

        def evolve() -> None:
            generation = 0
            while not stop.is_set():
                history.commit(ledger, run, generation, last=False)
                generation += 1

        thread = threading.Thread(target=evolve)
        thread.start()
        try:
            for number in range(6):
                path = tmp_path / f"b{number}"
                back_up(ledger.engine, path)
                with checked(path) as file:
                    found = restore(str(tmp_path / f"r{number}.db"), file, path).rows
                    assert found["individuals"] == 12 * found["generations"] == found["evaluations"]
                    seen.append(found["generations"])
        finally:
            stop.set()
            thread.join()
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_keep_rotates_backups_only(copy, tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in ("b.old", "b.01", "c.1", "b1", "b.1x"):
        (folder / name).write_text(name)
    others = set(folder.iterdir())
    file = folder / "b"
    stamps = []
    with closing(open_ledger(copy, create=False)) as ledger:
        for number in range(5):
            change(copy, f"UPDATE runs SET owner = 'number {number}'")
            back_up(ledger.engine, file, keep=3)
            stamps.append(file.read_bytes())
            names = [file, *(folder / f"b.{n}" for n in (1, 2))][: number + 1]
            assert set(folder.iterdir()) == others | set(names)
            assert [p.read_bytes() for p in names] == stamps[::-1][:3]
        change(copy, "UPDATE runs SET owner = 'number 9'")
        back_up(ledger.engine, file)
        assert (folder / "b.1").read_bytes() == stamps[-2]
        (folder / "b.1").unlink()
        back_up(ledger.engine, file, keep=2)
        assert set(folder.iterdir()) == others | {file, folder / "b.1"}
    assert all(p.read_text() == p.name for p in others)


def test_restored_run_resumes_to_same_digest(original, copy, tmp_path, capsys):
    cut(copy, 2)
    file, store = str(tmp_path / "b"), str(tmp_path / "restored.db")
    assert ga(capsys, "backup", file, "--store", copy)[0] == 0
    status, out, _ = ga(capsys, "restore", file, "--store", store, "--json")
    assert (status, json.loads(out)["rows"]["generations"]) == (0, 2)
    run = str(rows(copy, metadata.tables["runs"])[0][0])
    status, out, _ = ga(capsys, "resume", run, "--mode", "local", "--workers", "1", "--json",
                        "--store", store)  # fmt: skip
    with closing(open_ledger(str(original), create=False)) as ledger:
        assert (status, json.loads(out)["digest"]) == (0, ledger.run(run).digest)
    assert ga(capsys, "verify", run, "--store", store)[0] == 0


def test_resume_of_owned_run_is_refused(copy, capsys):
    cut(copy, 2)
    run = str(rows(copy, metadata.tables["runs"])[0][0])
    with closing(open_ledger(copy, create=False)) as ledger, ledger.acquire(run):
        before = everything(copy)
        status, _, err = ga(capsys, "resume", run, "--mode", "local", "--store", copy)
        assert (status, err.count("\n")) == (2, 1)
        assert f"run {run} is being evolved by another process" in err
        assert everything(copy) == before


@pytest.mark.parametrize("argv", [
    ["backup", "no/such/folder/b"],
    ["backup", "b", "--keep", "0"],
    ["restore", "missing"],
    ["restore", "."],
    ["verify", "nobody"],
])  # fmt: skip
def test_invalid_input_is_one_line_error(copy, capsys, tmp_path, monkeypatch, argv):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    status, _, err = ga(capsys, *argv, "--store", copy)
    assert (status, err.count("\n")) == (2, 1), err
    assert sorted(tmp_path.iterdir()) == before
