"""Ownership of a run: one process writes it, and a superseded owner writes nothing."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import MutableSequence
from contextlib import closing
from pathlib import Path

import pytest

from ga.errors import InputError, LedgerError
from ga.evolution import GENESIS
from ga.ledger import (
    open_ledger,
    ownership,
)
from tests.support.ledger_stores import change, counts, own


def test_second_coordinator_is_refused_with_owner_name(store, history, monkeypatch):
    with (
        closing(open_ledger(store, create=True)) as one,
        closing(open_ledger(store, create=False)) as two,
    ):
        run, other = history.begin(one), history.begin(one)
        with one.acquire(run):
            said = rf"run {run} is being evolved by another process \(process {os.getpid()} on"
            with monkeypatch.context() as patch:
                patch.setattr(ownership, "GRACE", 0.2)
                with pytest.raises(InputError, match=said):
                    own(two, run)
                with pytest.raises(InputError, match=said):
                    history.commit(two, run, 0)
            assert counts(store) == (0, 0, 0)
            # Another run is another matter.
            with two.acquire(other):
                history.commit(two, other, 0)
            history.digest = GENESIS
            history.commit(one, run, 0)
        with two.acquire(run):
            history.commit(two, run, 1)
        with pytest.raises(InputError, match="no such run"):
            own(one, "nobody")


def test_superseded_owner_writes_nothing(store, history):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        with ledger.acquire(run) as owner:
            history.commit(ledger, run, 0)
            before = counts(store)
            change(store, "UPDATE runs SET token = token + 1")
            with pytest.raises(LedgerError, match="another process evolves it now"):
                history.commit(ledger, run, 1)
        assert counts(store) == before
        with ledger.acquire(run) as follower:
            assert follower.token == owner.token + 2
            history.commit(ledger, run, 1, digest="1" * 64)
    assert counts(store)[0] == 2


_HOLDER = """
import sys, time
from ga.ledger import open_ledger
ledger = open_ledger(sys.argv[1], create=False)
with ledger.acquire(sys.argv[2]):
    print("owned", flush=True)
    time.sleep(120)
"""


def test_lock_ends_with_killed_process(store, history, monkeypatch):
    with closing(open_ledger(store, create=True)) as ledger:
        run = history.begin(ledger)
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, store, run], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        with holder.stdout as said:
            assert said.readline() == "owned\n"
        monkeypatch.setattr(ownership, "GRACE", 0.2)
        with pytest.raises(InputError, match=f"process {holder.pid} on"):
            own(ledger, run)
        holder.kill()
        holder.wait()
        monkeypatch.undo()
        with ledger.acquire(run):
            history.commit(ledger, run, 0)


def test_lock_file_is_removed_on_release(tmp_path, history):
    with closing(open_ledger(str(tmp_path / "l.db"), create=True)) as ledger:
        run = history.begin(ledger)
        with ledger.acquire(run):
            assert (tmp_path / f"l.db.{run}.lock").exists()
        assert list(tmp_path.glob("*.lock")) == []


_EACH = 1000


def _contend(path: str, taken: MutableSequence[int], number: int) -> None:
    from ga.ledger.locks import FileLock

    inside = Path(f"{path}.inside")
    try:
        # Whoever is quick goes on: nobody takes it without others beside.
        while min(taken) < _EACH:
            lock = FileLock.take(Path(path))
            if lock is None:
                continue
            # Fails where somebody else is inside.
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            inside.unlink()
            lock.release()
            taken[number] += 1
    except BaseException:
        # The others must not wait for one that failed.
        taken[number] += _EACH
        raise


def test_contended_lock_file_has_one_owner(tmp_path):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    taken = context.RawArray("l", 3)
    arguments = (str(tmp_path / "lock"), taken)
    workers = [context.Process(target=_contend, args=(*arguments, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [w.exitcode for w in workers] == [0, 0, 0]
