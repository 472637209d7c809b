"""A soak on disk: one evidence file a segment, and a manifest with the checksum of each.

A segment that is complete is sealed: its SHA-256 goes into the manifest, which is replaced as a
whole. Nothing is ever written to a sealed segment. When the soak was killed, the segment it was
writing stays as it is and is sealed as found; the next one begins with a ``gap`` that states the
unwatched time. ``read_soak`` reads all segments as one record. It refuses a soak with a segment
that is missing, added, changed, or cut without a gap.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Self, cast

from evolution_gate.fixtures.system.termination import undisturbed
from validation.evidence.base import Record
from validation.evidence.errors import EvidenceError
from validation.evidence.files import MOST_EVIDENCE, MOST_LINE, parse_document, read_file
from validation.evidence.log import Event, Evidence, EvidenceWriter, read_evidence
from validation.evidence.records import Close, Gap, Open
from validation.evidence.schema import Schema

MANIFEST: Final = "soak.json"
SCHEMA: Final = 1


MOST_HOURS: Final = 1000.0
MOST_FAULTS: Final = 60.0
"""Kills an hour."""
EVERY_S: Final = 360.0
"""From the start of one workload to that of the next, by default."""
SHORTEST_EVERY_S: Final = 10.0
LONGEST_EVERY_S: Final = 3600.0
_MOST_NODES: Final = 1000
_NAME: Final = re.compile(r"segment-[0-9]{4,9}\.jsonl")


@dataclass(frozen=True, kw_only=True)
class Plan(Record):
    """The options of a soak."""

    KIND = "plan"
    name: str
    """Name of the run that the segments form."""
    seed: int
    hours: float
    """Watched hours to gather."""
    faults: float
    """Kills of a node an hour."""
    backend: str
    nodes: int
    cpus_per_node: float
    replay: str
    target: tuple[str, ...] | None = None
    """The options that select what is watched; empty or None: a stack that the gate starts."""
    every_s: float | None = None
    """From the start of one workload to that of the next; None: ``EVERY_S``."""


@dataclass(frozen=True, kw_only=True)
class _Segment(Record):
    """One entry of the manifest, as it is stored."""

    KIND = "segment"
    file: str
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class _Manifest(Record):
    """The manifest, as it is stored."""

    KIND = "soak"
    schema: int
    plan: dict[str, object]
    segments: list[dict[str, object]]
    finished: bool


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The manifest. ``finished``: the soak ended in order, even if before its planned hours."""

    path: Path
    plan: Plan
    segments: tuple[tuple[str, str | None], ...] = ()
    """File name and SHA-256 of each; ``None`` for the one that is being written."""
    finished: bool = False
    sha256: str = field(default="", compare=False)
    """Digest of the manifest that was read; empty for one that was not."""

    def save(self) -> Self:
        """Replace the manifest on disk by this one."""
        text = json.dumps(
            {
                "schema": SCHEMA,
                "plan": asdict(self.plan),
                "segments": [{"file": name, "sha256": digest} for name, digest in self.segments],
                "finished": self.finished,
            },
            indent=1,
        )
        draft = self.path / f"{MANIFEST}.new"
        with draft.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / MANIFEST)
        # The rename is durable only after an fsync of the directory.
        directory = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest.

        Raises:
            EvidenceError: the manifest is missing, damaged or of another schema.
        """
        source = path / MANIFEST
        try:
            content = read_file(source, most=MOST_LINE)
        except FileNotFoundError:
            raise EvidenceError(f"{path}: no soak is here ({MANIFEST} is missing)") from None
        try:
            found = cls._read(path, parse_document(content))
        except EvidenceError as error:
            raise EvidenceError(f"{source}: damaged: {error}") from None
        return replace(found, sha256=hashlib.sha256(content).hexdigest())

    @classmethod
    def _read(cls, path: Path, fields: Mapping[str, object]) -> Self:
        if fields.get("schema") != SCHEMA:
            raise EvidenceError(f"schema {fields.get('schema')!r:.40}; this gate reads {SCHEMA}")
        manifest = cast("_Manifest", _MANIFEST.read(fields))
        plan = cast("Plan", _PLAN.read(manifest.plan))
        segments = [cast("_Segment", _SEGMENT.read(one)) for one in manifest.segments]
        limits = {
            "seed": 0 <= plan.seed < 2**63,
            "hours": 0 < plan.hours <= MOST_HOURS,
            "faults": 0 <= plan.faults <= MOST_FAULTS,
            "nodes": 1 <= plan.nodes <= _MOST_NODES,
            "cpus_per_node": 0 < plan.cpus_per_node <= _MOST_NODES,
            "every_s": plan.every_s is None or SHORTEST_EVERY_S <= plan.every_s <= LONGEST_EVERY_S,
        }
        if wrong := [name for name, good in limits.items() if not good]:
            raise EvidenceError(f"plan: {wrong[0]} is out of range")
        for one in segments:
            # It becomes the path of a file that is read, or made.
            if not _NAME.fullmatch(one.file):
                raise EvidenceError(f"{one.file[:40]!r} is no name of a segment")
        return cls(
            path=path,
            plan=plan,
            segments=tuple((one.file, one.sha256) for one in segments),
            finished=manifest.finished,
        )


_PLAN, _SEGMENT, _MANIFEST = Schema(Plan), Schema(_Segment), Schema(_Manifest)


@dataclass(kw_only=True)
class Segments:
    """Writes a soak's segments, one after the other. A ``Sink``; a context manager.

    Args:
        folder: A new soak, or one to continue.
        clock: Unix seconds; replaced in tests.
        heard: Called with every event that is written, and its time.
    """

    folder: Folder
    clock: Callable[[], float] = time.time
    heard: Callable[[float, Record], None] | None = None
    first: tuple[Record, ...] = ()
    """Written into the first segment that this process begins."""
    began: float = 0.0
    """When the current segment was begun, Unix seconds."""
    _writer: EvidenceWriter | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, gap: Gap | None = None) -> None:
        """Open the next segment; ``gap``: the time between it and the one before."""
        plan = self.folder.plan
        with self._lock, undisturbed():
            number = len(self.folder.segments) + 1
            name = f"segment-{number:04d}.jsonl"
            self.began = self.clock()
            entry = (name, None)
            self.folder = replace(
                self.folder, segments=(*self.folder.segments, entry), finished=False
            ).save()
            self._writer = EvidenceWriter(
                self.folder.path / name,
                run=f"{plan.name}/{number}",
                seed=plan.seed,
                backend=plan.backend,
                nodes=plan.nodes,
                cpus_per_node=plan.cpus_per_node,
                replay=plan.replay,
                clock=self.clock,
            )
            if gap is not None:
                self.add(gap)
            for record in self.first:
                self.add(record)
            self.first = ()

    def add(self, record: Record) -> None:
        """Append one record to the segment that is open."""
        with self._lock:
            if self._writer is None:
                raise ValueError("no segment is open")
            self._writer.add(record)
            if self.heard is not None:
                self.heard(self.clock(), record)

    def rotate(self) -> Path:
        """Seal the segment and open the next; returns the sealed one."""
        with self._lock, undisturbed():
            sealed = self.seal()
            self.begin()
            return sealed

    def seal(self) -> Path:
        """Close the segment and put its checksum into the manifest."""
        with self._lock, undisturbed():
            assert self._writer is not None
            self._writer.close()
            self._writer = None
            self.folder = sealed(self.folder)
            return self.folder.path / self.folder.segments[-1][0]

    def finish(self) -> None:
        """Seal the last segment: the soak has ended in order."""
        with self._lock, undisturbed():
            self.seal()
            self.folder = replace(self.folder, finished=True).save()


def sealed(folder: Folder) -> Folder:
    """The folder with its last segment's checksum in the manifest, as the file is now."""
    name, _ = folder.segments[-1]
    path = folder.path / name
    path.touch()  # killed between the manifest and the file: there is none
    digest = hashlib.sha256(read_file(path, most=MOST_EVIDENCE)).hexdigest()
    return replace(folder, segments=(*folder.segments[:-1], (name, digest))).save()


def locked(path: Path) -> int:
    """Take the soak's lock until the process ends; returns the descriptor.

    filelock would save one line.

    Raises:
        EvidenceError: another process has it.
    """
    descriptor = os.open(path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise EvidenceError(f"{path}: another process runs this soak; wait for it") from None
    return descriptor


def read_soak(path: Path) -> Evidence:
    """All segments as one record.

    It counts as closed when the soak ended in order. While it runs, or after a kill and before it
    is resumed, it is open and proves nothing.

    Raises:
        EvidenceError: a segment is missing, was added or changed, or was cut and the next one does
            not begin with a gap; or it is damaged as any evidence can be.
    """
    folder = Folder.load(path)
    listed = [name for name, _ in folder.segments]
    there = sorted(file.name for file in path.glob("segment-*.jsonl"))
    if folder.segments and folder.segments[-1][1] is None and listed[-1] not in there:
        # Killed between the manifest and the file.
        there.append(listed[-1])
    if odd := sorted(set(listed) ^ set(there)):
        raise EvidenceError(f"{path}: {', '.join(odd)} missing, or not in {MANIFEST}")
    if not listed:
        raise EvidenceError(f"{path}: the soak has no segment yet")
    events: list[Event] = []
    whole = True
    for number, (name, digest) in enumerate(folder.segments, start=1):
        last = number == len(folder.segments)
        if _empty(path / name):
            # Killed as it began: nothing was watched in it.
            whole = False
            continue
        record = read_evidence(path / name, allow_open=True)
        if digest is None and not last:
            raise EvidenceError(f"{record.source}: not sealed, though another segment follows")
        if digest not in (None, record.sha256):
            raise EvidenceError(f"{record.source}: changed since it was sealed")
        if record.run != f"{folder.plan.name}/{number}":
            raise EvidenceError(f"{record.source}: of run {record.run!r}, not of this soak")
        inner = [e for e in record.events if not isinstance(e.record, Open | Close)]
        if not whole and (not inner or not isinstance(inner[0].record, Gap)):
            raise EvidenceError(f"{record.source}: the segment before was cut, and no gap says so")
        whole = record.closed
        if not events:
            opening = replace(record.opening, run=folder.plan.name)
            events.append(replace(record.events[0], data=opening.data(), record=opening))
        events += inner
    if not events:
        raise EvidenceError(f"{path}: the soak has no segment with a line yet")
    return Evidence(
        source=os.fspath(path),
        sha256=folder.sha256,
        closed=whole and folder.finished,
        events=tuple(events),
    )


def _empty(path: Path) -> bool:
    """Whether the soak was killed before the segment's first line was whole."""
    if not path.exists():
        return True
    if not path.is_file():
        # Opening a pipe would wait for ever; who reads the segment refuses it.
        return False
    with path.open("rb") as file:
        return not file.readline().endswith(b"\n")
