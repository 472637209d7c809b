"""Backup of a whole ledger to one file, and restore; equal for both databases.

The file is one line, ``evolution-gate/backup/1 SHA256`` with the hash of all bytes after it, and
then compressed JSON Lines: first the columns of each table, then each row as [table, [values]]. If
``--force`` wrote the backup, its first such line also has ``altered``: what did not match.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import IO, Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.errors import InputError, LedgerError
from ga.files import without_waiting
from ga.ledger.anchor import compare
from ga.ledger.bulk_insert import insert
from ga.ledger.columns import Checked, DamagedError, Json
from ga.ledger.connection import snapshot
from ga.ledger.opening import fill_new
from ga.ledger.run_history import first_difference
from ga.ledger.schema import (
    anchors,
    attempts,
    evaluations,
    generations,
    individuals,
    nodes,
    requests,
    runs,
    strategies,
)
from ga.ledger.soundness import require_sound

_FORMAT: Final = b"evolution-gate/backup/1 "
_HEAD: Final = len(_FORMAT) + 65
_TABLES: Final = {
    table.name: table
    for table in (
        runs,
        anchors,
        generations,
        evaluations,
        individuals,
        attempts,
        strategies,
        nodes,
        requests,
    )
}
"""Tables in an order in which each row's run precedes it."""
_COLUMNS: Final = {name: [c.name for c in table.columns] for name, table in _TABLES.items()}
_ALTERED: Final = "altered"
_MOST_NAMED: Final = 100
_LONGEST_HEADER: Final = 1_000_000
_CHUNK: Final = 5000
"""Rows held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A backup that was written or restored."""

    rows: Mapping[str, int]
    """Table -> rows."""
    altered: tuple[str, ...]
    """What did not match its digest or anchor; empty unless written with ``force``."""


def back_up(engine: Engine, path: Path, *, keep: int | None = None, force: bool = False) -> Copied:
    """Write a consistent snapshot of all runs to ``path``.

    The file is written atomically. With ``keep``, the previous backup becomes ``path.1``, the one
    before ``path.2``, and only the newest ``keep`` remain; without, it is replaced.

    Args:
        force: also if rows do not match digests or anchors. The backup says so.

    Raises:
        InputError: the file cannot be written.
        LedgerError: a run does not match its digests or its anchor. Then nothing is written, so
            that a bad backup does not replace a good one.
    """
    if path.exists() and not path.is_file():
        # It would be replaced: as root, even a device such as /dev/null.
        raise InputError(f"{path}: is a folder, a pipe or a device; give a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            written = _write(engine, file, force=force)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None:
            _rotate(path, keep)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return written


def restore(store: str, file: IO[bytes], path: Path) -> Copied:
    """Read a file that ``checked`` has passed into an empty or new ledger, in one transaction.

    Raises:
        InputError: the ledger is not empty, or the file's rows are not a valid ledger. Then the
            store is as before.
    """
    counts = dict.fromkeys(_TABLES, 0)
    _, altered = _header(file)

    def fill(connection: sa.Connection) -> None:
        for table in (runs, requests):
            if connection.execute(sa.select(table.c.run).limit(1)).first() is not None:
                raise InputError(
                    f"--store: holds {table.name} already; a backup is restored into an empty or"
                    " new ledger"
                )
        counts.update(dict.fromkeys(_TABLES, 0))
        for table, rows in _chunks(file):
            insert(connection, table, rows)
            counts[table.name] += len(rows)
        require_sound(connection)
        problem = None if altered else next(_differences(connection), None)
        if problem is not None:
            raise LedgerError(f"{problem}, so {path}: restored nothing")

    try:
        fill_new(store, fill)
    except InputError:
        raise
    except sa.exc.DBAPIError as error:
        raise _unrestorable(path, str(error.orig)) from None
    except DamagedError as error:
        reason = f"table {error.table}, column {error.column}: {error.reason}"
        raise _unrestorable(path, reason) from None
    except LedgerError as error:
        raise InputError(str(error)) from None
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise _unrestorable(path, str(error)) from None
    return Copied(rows=counts, altered=tuple(altered))


def checked(path: Path, *, force: bool = False) -> IO[bytes]:
    """Open a backup after every byte of it was checked.

    Args:
        force: also one that was written with ``--force``.

    Raises:
        InputError: it cannot be read, is not a backup, is damaged, is of another version, or was
            written with ``--force``.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(open(path, "rb", opener=without_waiting))
            head = file.read(_HEAD)
            ours = head.startswith(_FORMAT)
            # Anything else may have no end.
            found = hashlib.file_digest(file, "sha256").hexdigest() if ours else ""
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a backup") from None
        problem = None
        if not ours:
            other = head.startswith(_FORMAT.rpartition(b"/")[0])
            what = "a damaged backup, or one of another version" if other else "not a backup"
            problem = f"{what}; give a file that this version's `ga backup` wrote"
        elif head != _line(found):
            problem = "damaged: its SHA-256 does not match; nothing was restored"
        else:
            columns, altered = _header(file)
            if columns != _COLUMNS:
                problem = "written by another version of evolution-gate; restore it with that one"
            elif altered and not force:
                problem = (
                    f"written by `backup --force`, because the ledger was altered ({altered[0]});"
                    " give another backup, or --force to restore it as it is"
                )
        if problem is not None:
            raise InputError(f"{path}: {problem}")
        opened.pop_all()
        return file


def _header(file: IO[bytes]) -> tuple[object, list[str]]:
    """Columns of each table and what was altered, by the first line of a backup; None and nothing
    if it has no such line.
    """
    file.seek(_HEAD)
    try:
        with gzip.open(file) as content:
            found = json.loads(content.readline(_LONGEST_HEADER))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError):
        return None, []
    if not isinstance(found, dict):
        return found, []
    altered = found.pop(_ALTERED, [])
    if not isinstance(altered, list) or not all(isinstance(one, str) for one in altered):
        return None, []
    return found, altered


def _write(engine: Engine, file: BufferedRandom, *, force: bool) -> Copied:
    counts = dict.fromkeys(_TABLES, 0)
    file.write(_line("0" * 64))
    with snapshot(engine) as connection:
        require_sound(connection)
        altered = []
        for problem in _differences(connection):
            if not force:
                raise LedgerError(
                    f"{problem}, so nothing was backed up; --force writes it nevertheless"
                )
            altered.append(problem)
        header = {**_COLUMNS, _ALTERED: altered[:_MOST_NAMED]} if altered else _COLUMNS
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0) as content:
            content.write(json.dumps(header).encode() + b"\n")
            for name, table in _TABLES.items():
                query = sa.select(table).order_by(*table.primary_key)
                stream = connection.execution_options(yield_per=_CHUNK).execute(query)
                for row in stream:
                    content.write(json.dumps([name, list(row)]).encode() + b"\n")
                    counts[name] += 1
    file.seek(_HEAD)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    file.write(_line(digest))
    return Copied(rows=counts, altered=tuple(altered))


def _line(digest: str) -> bytes:
    return _FORMAT + digest.encode() + b"\n"


def _differences(connection: sa.Connection) -> Iterator[str]:
    """What does not match a stored digest or an anchor: at most one for each run."""
    for run in connection.execute(sa.select(runs.c.run)).scalars().all():
        generation = first_difference(connection, run)
        if generation is not None:
            yield (
                f"run {run}: generation {generation} does not agree with its digest (see:"
                f" python -m ga verify {run})"
            )
            continue
        altered = compare(connection, run).altered
        if altered:
            yield f"run {run}: {'; '.join(altered)} (see: python -m ga verify {run})"


def _chunks(file: IO[bytes]) -> Iterator[tuple[sa.Table, list[tuple[object, ...]]]]:
    """The rows of a backup, at most ``_CHUNK`` at once, ready to be inserted."""
    rows: list[tuple[object, ...]] = []
    last = runs
    file.seek(_HEAD)
    with gzip.open(file) as content:
        content.readline()
        for number, line in enumerate(content, 2):
            table, values = _row(line, number)
            if table is not last or len(rows) == _CHUNK:
                yield last, rows
                last, rows = table, []
            rows.append(values)
    yield last, rows


def _row(line: bytes, number: int) -> tuple[sa.Table, tuple[object, ...]]:
    """One row, checked as when it is read from a ledger.

    Raises:
        ValueError: it is not one.
        DamagedError: a value is not what its column may hold.
    """
    try:
        name, values = json.loads(line)
        table = _TABLES[name]
        checked = [
            _checked(column, value) for column, value in zip(table.columns, values, strict=True)
        ]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ValueError(f"line {number} is not a row of a table") from None
    return table, tuple(checked)


def _checked(column: sa.Column[Any], value: object) -> object:
    kind = column.type
    assert isinstance(kind, Checked)
    if value is None and not column.nullable:
        raise DamagedError(column.table.name, column.name, "there is no value")
    kind.check(value)
    return json.dumps(value) if isinstance(kind, Json) else value


def _rotate(path: Path, keep: int) -> None:
    """Rotate before a new ``path`` is written: the current one becomes ``path.1``, and so on.

    ``path`` itself stays until the new one replaces it, so that there is always a backup.
    """
    numbers = {}
    for other in path.parent.iterdir():
        match = re.fullmatch(rf"{re.escape(path.name)}\.([1-9]\d*)", other.name)
        if match:
            numbers[int(match[1])] = other
    # Newest first; those whose new rank is below ``keep`` move up by one, the oldest first.
    ranked = sorted(numbers)
    present = path.exists() and keep > 1
    kept = ranked[: max(keep - 2, 0)] if present else ranked[: keep - 1]
    for number in ranked[len(kept) :]:
        numbers[number].unlink()
    if not present:
        return
    for rank, number in reversed(list(enumerate(kept))):
        if number < rank + 2:
            numbers[number].rename(path.with_name(f"{path.name}.{rank + 2}"))
    os.link(path, path.with_name(f"{path.name}.1"))


def _sync(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unrestorable(path: Path, reason: str) -> InputError:
    why = " ".join(reason.split())[:300]
    return InputError(
        f"{path}: cannot be restored ({why}); nothing was restored: give another backup"
    )


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be written ({error.strerror}); give a file in a folder that exists"
    )
