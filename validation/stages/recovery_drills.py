"""Drills of an operator's tasks: refused inputs, backup and restore, and failover."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from evolution_gate.fixtures.protocols import Receipt, Stack
from evolution_gate.fixtures.system import ports
from evolution_gate.fixtures.system.environment import DATABASE, inherited
from evolution_gate.fixtures.system.launch import run
from validation.evidence.log import Sink
from validation.evidence.records import Note
from validation.evidence.records_ledger import LedgerCopy, Refusal, Restore
from validation.stages.evolve_process import Evolve
from validation.stages.fault_records import as_fault
from validation.stages.ledger_audit import standing
from validation.stages.ledger_copies import Moment, compare, database_of, fill, moment
from validation.stages.workloads import WORKLOAD_SECONDS, Workloads

_COMMAND_SECONDS: Final = 120.0
_ROWS: Final = 240
_AFTER_READY: Final = 1.5
_POLL: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class _BadInput:
    name: str
    must_name: str
    arguments: tuple[str, ...] = ()
    """Appended to valid arguments; the last value of an option counts."""
    lines: tuple[str, ...] | None = None
    """Content of the market file."""


@dataclass(frozen=True, kw_only=True)
class _Backup:
    workload: str
    run: str
    file: Path
    while_running: bool
    then: Moment
    """The runs just before it."""


class Drills:
    """Tasks of an operator, tried on a stack; see ``Workloads`` for the arguments."""

    def __init__(
        self,
        workloads: Workloads,
        stack: Stack,
        writer: Sink,
        *,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self._workloads, self._stack, self._writer = workloads, stack, writer
        self._folder, self._say = folder, say
        self._backups: list[_Backup] = []
        self.head_kill: Receipt | None = None
        """Receipt of the head's kill, after ``rollback``."""

    def bad_input(self) -> None:
        """Try every kind of bad input, each on a separate ledger with a run."""
        inputs = bad_inputs()
        self._say(f"{len(inputs)} bad inputs")
        folder = self._folder / "bad-input"
        folder.mkdir()
        good = folder / "good.csv"
        good.write_text("\n".join(_candles()) + "\n")
        ledger = folder / "ledger.db"
        begun = _ga([*_evolve(good), "--store", str(ledger)])
        if begun.returncode != 0:
            self._writer.add(Note(text=f"no ledger for bad inputs: {begun.stderr.strip()}"))
            return
        with ThreadPoolExecutor(2) as pool:
            for refusal in pool.map(lambda one: _refused(one, folder, ledger), inputs):
                self._writer.add(refusal)

    def back_up(self, evolve: Evolve) -> None:
        """Back up the ledger while a workload writes to it."""
        before = evolve.generation_at
        deadline = time.monotonic() + WORKLOAD_SECONDS
        while evolve.running and evolve.generation_at == before and time.monotonic() < deadline:
            time.sleep(_POLL)
        file = self._folder / "backup-running"
        running = evolve.running
        then = moment(self._workloads.store)
        done = _ga(["backup", str(file)], {"GA_STORE": self._workloads.store})
        if done.returncode != 0 or evolve.run is None:
            self._writer.add(Note(text=f"backup failed: {done.stderr.strip()}"))
            return
        self._backups.append(
            _Backup(
                workload=evolve.name, run=evolve.run, file=file, while_running=running, then=then
            )
        )

    def restore(self) -> None:
        """Back up once more, at rest; then restore both, whole and with one byte changed."""
        self._say("backups restored into empty ledgers")
        for last in self._backups[-1:]:
            file = self._folder / "backup-at-rest"
            then = moment(self._workloads.store)
            done = _ga(["backup", str(file)], {"GA_STORE": self._workloads.store})
            if done.returncode == 0:
                self._backups.append(
                    _Backup(
                        workload=last.workload,
                        run=last.run,
                        file=file,
                        while_running=False,
                        then=then,
                    )
                )
            else:
                self._writer.add(Note(text=f"backup failed: {done.stderr.strip()}"))
        for backup in self._backups:
            target = backup.file.with_suffix(".db")
            done = _ga(["restore", str(backup.file), "--store", str(target)])
            whole = done.returncode == 0
            if not whole:
                self._writer.add(Note(text=f"restore failed: {done.stderr.strip()}"))
            after = standing(f"sqlite:///{target}", backup.run) if whole else None
            last_one = None if after is None else after.generation
            before = standing(self._workloads.store, backup.run, until=last_one)
            planned = self._workloads.real().generations
            # The backup itself must show it: its last generation is before the run's.
            running = backup.while_running and before.generation + 1 < planned
            if whole:
                copy = f"sqlite:///{target}"
                which = "running" if running else "at rest"
                self._writer.add(ledger_copy(which, self._workloads.store, copy, backup.then))
            self._writer.add(
                Restore(
                    workload=backup.workload,
                    while_running=running,
                    generation=max(before.generation, 0),
                    digest_before=before.digest,
                    digest_after=None if after is None else after.recomputed,
                    individuals_before=before.individuals,
                    individuals_after=0 if after is None else after.individuals,
                    damaged_refused=_damaged_is_refused(backup.file),
                )
            )
        self._every_table()

    def _every_table(self) -> None:
        """Back up and restore a small ledger with rows in all tables, from SQLite to the stack's
        database and back.
        """
        folder = self._folder / "every-table"
        folder.mkdir()
        market, first = folder / "market.csv", f"sqlite:///{folder / 'ledger.db'}"
        market.write_text("\n".join(_candles()) + "\n")
        begun = _ga(_evolve(market), {"GA_STORE": first})
        if begun.returncode != 0:
            self._writer.add(Note(text=f"no ledger with every table: {begun.stderr.strip()}"))
            return
        fill(first)
        with _new_database(self._stack.endpoints.postgres) as other:
            source = first
            for number, target in enumerate(filter(None, (other, "sqlite"))):
                copy = target if "://" in target else f"sqlite:///{folder / 'restored.db'}"
                file, then = str(folder / f"backup-{number}"), moment(source)
                for command, store in (("backup", source), ("restore", copy)):
                    # The made-up rows came after the end of the run, so they do not match its
                    # anchor.
                    done = _ga([command, file, "--force"], {"GA_STORE": store})
                    if done.returncode != 0:
                        self._writer.add(Note(text=f"{command} failed: {done.stderr.strip()}"))
                        return
                self._writer.add(ledger_copy("every table", source, copy, then))
                source = copy

    def rollback(self) -> None:
        """Kill the whole cluster during a run. The gate does not start it again; a deployed one is
        waited for.
        """
        self._say("rollback: the whole cluster is killed during a run")
        workloads, spec = self._workloads, self._workloads.real()
        name = workloads.name("rollback", "distributed")
        with workloads.evolve(spec, name, workloads.cluster_arguments()) as evolve:
            if evolve.wait_ready(WORKLOAD_SECONDS):
                time.sleep(_AFTER_READY)
                receipts = self._stack.kill_cluster()
                self.head_kill = receipts[0]
                for receipt in receipts:
                    self._writer.add(as_fault(receipt, name))
            ended = evolve.finish(WORKLOAD_SECONDS)
        nodes = len(self._stack.nodes)
        workloads.record(
            name,
            spec,
            ended,
            purpose="rollback",
            arm="distributed",
            pair=None,
            nodes=nodes,
            workers=nodes,
        )
        for receipt in self._stack.await_cluster():
            self._writer.add(as_fault(receipt, None))


def ledger_copy(which: str, source: str, copy: str, then: Moment) -> LedgerCopy:
    """The record of a restored ledger."""
    found = compare(source, copy, then)
    return LedgerCopy(
        moment=which,
        source=database_of(source),
        copy=database_of(copy),
        rows=found.rows,
        differing=tuple(found.differing),
    )


@contextmanager
def _new_database(server: str | None) -> Iterator[str | None]:
    """The URL of an empty database on a PostgreSQL server, which is dropped at the end; None
    without a server.
    """
    if server is None:
        yield None
        return
    name = f"gate_{secrets.token_hex(4)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        try:
            url = make_url(server).set(database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    finally:
        engine.dispose()


def bad_inputs() -> tuple[_BadInput, ...]:
    """All kinds of bad input that the engine must refuse."""
    good = _candles()
    head, rows = good[0], good[1:]

    def changed(row: int, column: int, value: str) -> tuple[str, ...]:
        cells = rows[row].split(",")
        cells[column] = value
        return (head, *rows[:row], ",".join(cells), *rows[row + 1 :])

    def one(name: str, must_name: str, *arguments: str) -> _BadInput:
        return _BadInput(name=name, must_name=must_name, arguments=arguments)

    def file(name: str, must_name: str, lines: Sequence[str]) -> _BadInput:
        return _BadInput(name=name, must_name=must_name, lines=tuple(lines))

    return (
        one("missing file", "nowhere.csv", "--market", "nowhere.csv"),
        file("empty file", "empty", ()),
        file("wrong columns", "close", [line.rsplit(",", 1)[0] for line in good]),
        file("unsorted times", "row 12", [head, *rows[:9], rows[11], rows[10], *rows[12:]]),
        file("repeated time", "row 12", [head, *rows[:10], rows[9], *rows[10:]]),
        file("price that is no number", "close", changed(4, 4, "nan")),
        file("price of zero", "open", changed(4, 1, "0")),
        file("high below low", "high", changed(4, 2, "0.5")),
        file("one bar", "1 bar", [head, rows[0]]),
        file("mixed time zones", "offsets", changed(4, 0, "2024-01-01T04:00:00+03:00")),
        one("unreadable store", "--store", "--store", "/proc/no/such/folder/ledger.db"),
        one("unknown store", "--store", "--store", "mysql://127.0.0.1/ledger"),
        one(
            "dead address",
            "--address",
            *("--mode", "distributed", "--address", f"127.0.0.1:{ports.free(1)[0]}"),
        ),
        one("population of none", "population", "--population-size", "0"),
        one("negative generations", "generations", "--generations", "-1"),
        one("unknown family", "no_such_family", "--families", "no_such_family"),
    )


def _candles() -> list[str]:
    lines = ["time,open,high,low,close"]
    for hour in range(_ROWS):
        price = 100 + hour % 7
        day, at = 1 + hour // 24, hour % 24
        lines.append(f"2024-01-{day:02}T{at:02}:00:00Z,{price},{price + 2},{price - 2},{price + 1}")
    return lines


def _evolve(market: Path) -> list[str]:
    return [
        *("evolve", "--market", str(market), "--mode", "local", "--workers", "1"),
        *("--families", "ema_crossover", "--population-size", "2", "--generations", "1"),
        *("--folds", "1", "--json", "--top", "0"),
    ]


def _refused(bad: _BadInput, folder: Path, ledger: Path) -> Refusal:
    place = folder / bad.name.replace(" ", "-")
    place.mkdir()
    market, store = place / "market.csv", place / "ledger.db"
    shutil.copy(ledger, store)
    market.write_text("\n".join(_candles() if bad.lines is None else bad.lines))
    before = _content(store)
    done = _ga([*_evolve(market), "--store", str(store), *bad.arguments])
    return Refusal(
        input=bad.name,
        exit_code=done.returncode,
        message=done.stderr.strip(),
        must_name=bad.must_name,
        ledger_changed=_content(store) != before,
    )


def _content(store: Path) -> str:
    digest = hashlib.sha256()
    with closing(sqlite3.connect(store)) as connection:
        for line in connection.iterdump():
            digest.update(line.encode())
    return digest.hexdigest()


def _damaged_is_refused(file: Path) -> bool:
    """Whether the file with one changed byte, in its middle, is refused completely."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = file.with_name(f"{file.name}-damaged")
    damaged.write_bytes(content)
    store = damaged.with_suffix(".db")
    done = _ga(["restore", str(damaged), "--store", str(store)])
    if done.returncode != 2 or not store.exists():
        return done.returncode == 2
    with closing(sqlite3.connect(store)) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
        return "runs" not in tables or not connection.execute("SELECT run FROM runs").fetchall()


def _ga(
    arguments: Sequence[str], env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return run(
        [sys.executable, "-m", "ga", *arguments],
        capture_output=True,
        env=inherited(env, keep=[DATABASE]),
        timeout=_COMMAND_SECONDS,
        check=False,
    )
