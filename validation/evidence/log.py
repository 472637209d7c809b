"""The append-only evidence log, from which verdicts are computed: JSON Lines, one event a line.

Nothing but this file enters a verdict. Every line carries a hash over the lines before it
(``chained_lines``). So a line that is changed, moved, added or dropped is detected, and the last
line must be a ``close`` event with the number of lines before it.

The chain detects damage and careless edits. It is not a signature: anybody who rewrites the whole
file can recompute it. If that matters, sign the decision (``validation.signing``).
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import TextIOWrapper
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Protocol, Self, TypeVar, cast

from evolution_gate.fixtures.system.termination import undisturbed
from validation.evidence.base import Record
from validation.evidence.chained_lines import GENESIS, printable, read_line, write_line
from validation.evidence.errors import EvidenceError
from validation.evidence.files import MOST_EVIDENCE, complete_lines, read_file, require_short
from validation.evidence.records import SCHEMA_VERSION, Close, Open, parse

__all__ = [
    "FILE",
    "Event",
    "Evidence",
    "EvidenceError",
    "EvidenceWriter",
    "Sink",
    "pool",
    "read_evidence",
]

FILE: Final = "evidence.jsonl"
"""Name of the record in the folder of a run."""
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of evidence."""

    seq: int
    """Line number minus one."""
    kind: str
    """A key of ``records.RECORDS``."""
    at: float
    """Unix seconds at which the harness wrote the line."""
    data: Mapping[str, object]
    """The payload as stored in the file."""
    record: Record
    """The payload, parsed."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One file, checked from the first line to the last."""

    source: str
    """Path that it was read from."""
    sha256: str
    """Digest of the file's bytes, hexadecimal."""
    closed: bool
    """False: the run was cut short, and the record proves nothing."""
    events: tuple[Event, ...]

    @cached_property
    def opening(self) -> Open:
        """The first line."""
        return cast("Open", self.events[0].record)

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.opening.run

    @cached_property
    def _by_kind(self) -> Mapping[str, tuple[Event, ...]]:
        groups: dict[str, list[Event]] = {}
        for event in self.events:
            groups.setdefault(event.kind, []).append(event)
        return {kind: tuple(events) for kind, events in groups.items()}

    @cached_property
    def not_finite(self) -> str:
        """Describe the first number that is NaN or infinite; empty when all are finite.

        A file cannot contain one, but evidence may be made in memory.
        """
        for event in self.events:
            if not math.isfinite(event.at):
                return f"run {self.run}, event {event.seq}: its time is NaN or infinite"
            if event.record.not_finite:
                return f"run {self.run}, event {event.seq}: {event.record.not_finite}"
        return ""

    def of(self, kind: str) -> tuple[Event, ...]:
        """Events of one kind, in the order in which they were written."""
        return self._by_kind.get(kind, ())

    def all(self, record: type[R]) -> tuple[R, ...]:
        """Parsed payloads of one kind, for example ``evidence.all(Workload)``."""
        return tuple(cast("R", event.record) for event in self.of(record.KIND))


class Sink(Protocol):
    """A destination of evidence: one file, or the segments of a soak."""

    def add(self, record: Record) -> None:
        """Append one record; safe to call from several threads."""


class EvidenceWriter:
    """Writes one file, line by line; safe to call from several threads.

    A context manager. Leaving it normally writes ``close``; leaving it by an exception does not,
    so a run that crashed can never be mistaken for a complete one.

    Args:
        path: A file that does not exist yet; its directory is made.
        run: Name of the run, unique among files that will be pooled.
        seed: Seed of the run.
        backend: ``processes`` or ``containers``.
        nodes: Worker nodes of the stack.
        cpus_per_node: CPU quota of a node, cores.
        replay: Shell command that repeats the run.
        clock: Unix seconds; replaced in tests.

    Raises:
        EvidenceError: the opening facts are ill-typed.
        FileExistsError: there is a record at ``path`` already; evidence is never overwritten.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        run: str,
        seed: int,
        backend: str,
        nodes: int,
        cpus_per_node: float,
        replay: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path: Final = Path(path)
        self.system: Final[Mapping[str, object]] = {
            "backend": backend,
            "nodes": nodes,
            "cpus_per_node": cpus_per_node,
        }
        """What the opening says of the system, as in ``evidence.identity``."""
        self.run: Final = run
        self._clock = clock
        self._lock = threading.RLock()
        self._chain = GENESIS
        self._seq = 0
        opening = Open(
            run=run,
            seed=seed,
            schema=SCHEMA_VERSION,
            backend=backend,
            nodes=nodes,
            cpus_per_node=cpus_per_node,
            replay=replay,
            started_at=clock(),
        )
        parse(Open.KIND, opening.data())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIOWrapper | None = self.path.open("x", encoding="ascii", newline="\n")
        self.add(opening)

    def record(self, kind: str, /, **data: object) -> None:
        """Append one event and flush it.

        Raises:
            EvidenceError: the payload does not fit ``records``, or holds NaN or infinity; nothing
                is written then.
            ValueError: the record is closed already.
        """
        parse(kind, data)
        with self._lock:
            if self._file is None:
                raise ValueError(f"{self.path}: the record is closed; {kind} cannot be added")
            line, chain = write_line(self._seq, kind, self._clock(), data, self._chain)
            # A line is written completely and counted, or not at all.
            with undisturbed():
                self._file.write(line)
                self._file.flush()
                self._chain = chain
                self._seq += 1

    def add(self, record: Record) -> None:
        """Append a typed record; the same as ``record(kind, **fields)``."""
        self.record(record.KIND, **record.data())

    def close(self) -> None:
        """Write ``close`` and put the file on disk. Calling it again does nothing."""
        with self._lock:  # no other thread may write between counting and closing
            if self._file is not None:
                self.add(Close(events=self._seq))
                self._release()

    def _release(self) -> None:
        with self._lock:
            if self._file is not None:
                os.fsync(self._file.fileno())
                self._file.close()
                self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._release()


def read_evidence(path: str | os.PathLike[str], *, allow_open: bool = False) -> Evidence:
    """Read and check one file.

    Args:
        path: The file.
        allow_open: Accept a file without its ``close`` line (a run cut short, or still going). A
            incomplete last line is then left out.

    Raises:
        EvidenceError: ``file, line N: reason`` when the file is empty, cut, edited, reordered, of
            another schema, or holds a number that is not finite.
        OSError: the file cannot be read.
    """
    raw = read_file(path, most=MOST_EVIDENCE)
    source = os.fspath(path)
    count, tail = raw.count(b"\n"), not raw.endswith(b"\n")
    if not count:
        raise EvidenceError(f"{source}, line 1: no complete line; this is not evidence")
    if tail and not allow_open:
        raise EvidenceError(f"{source}, line {count + 1}: cut in the middle of the line")
    events: list[Event] = []
    chain = GENESIS
    for number, line in complete_lines(raw):
        try:
            require_short(line)
            event, chain = _event(line, number, chain)
            _check_place(event, number, closed=bool(events) and events[-1].kind == Close.KIND)
        except EvidenceError as error:
            raise EvidenceError(f"{source}, line {number + 1}: {error}") from None
        events.append(event)
    closed = events[-1].kind == Close.KIND
    if closed and tail:
        raise EvidenceError(f"{source}, line {count + 1}: text after the close event")
    if not closed and not allow_open:
        raise EvidenceError(
            f"{source}, line {count}: the record ends without a close event; "
            "it was cut, or its run did not finish"
        )
    return Evidence(
        source=source,
        sha256=hashlib.sha256(raw).hexdigest(),
        closed=closed,
        events=tuple(events),
    )


def pool(evidence: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Combine records that are judged together.

    Raises:
        EvidenceError: there is no record, or two are of the same run.
    """
    if not evidence:
        raise EvidenceError("no evidence: name at least one file")
    seen: dict[str, str] = {}
    for item in evidence:
        if item.run in seen:
            raise EvidenceError(
                f"{item.source}, line 1: run {item.run!r} was read from {seen[item.run]} already; "
                "evidence counts once"
            )
        seen[item.run] = item.source
    return tuple(evidence)


def _event(text: bytes, number: int, previous: str) -> tuple[Event, str]:
    """Parse and check one line; returns it with its chain."""
    line = read_line(text, number, previous)
    kind, data = line.kind, line.data
    if line.escaped:
        kind, data = printable(kind), printable(data)
        if kind == Open.KIND:
            # Name and command of the run stand in lines of their own.
            data = {k: " ".join(v.split()) if isinstance(v, str) else v for k, v in data.items()}
    event = Event(
        seq=line.seq,
        kind=kind,
        at=line.at,
        data=MappingProxyType(data),
        record=parse(kind, data),
    )
    return event, line.chain


def _check_place(event: Event, number: int, *, closed: bool) -> None:
    if closed:
        raise EvidenceError("an event after the close event")
    if (number == 0) != (event.kind == Open.KIND):
        raise EvidenceError("the first line, and no other, must be the open event")
    record = event.record
    if isinstance(record, Open) and record.schema != SCHEMA_VERSION:
        raise EvidenceError(
            f"schema {record.schema}; this gate reads {SCHEMA_VERSION}. "
            "Judge it with the version of the project that wrote it"
        )
    if isinstance(record, Close) and record.events != number:
        raise EvidenceError(f"close counts {record.events} events, but {number} precede it")
