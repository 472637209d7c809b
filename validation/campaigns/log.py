"""The campaign log: every run that was begun, and how it ended.

One file next to the runs, in chained lines as evidence is. A run writes ``begun`` before anything
else, ``gathering`` when its evidence file exists, and ``ended`` with its verdicts. A run without
``ended`` was abandoned, killed, or is still going. The gate reads the log to see which runs of the
same system were left out of a pool.

The chain detects edits, but not lines cut from the end together with their runs, nor a log that was
removed: without a log there is no GO.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from evolution_gate.fixtures.system.termination import undisturbed
from ga.errors import InputError
from validation.evidence.base import Record
from validation.evidence.chained_lines import GENESIS, Line, printable, read_line, write_line
from validation.evidence.errors import EvidenceError
from validation.evidence.files import (
    MOST_BYTES,
    FileContent,
    complete_lines,
    read_file,
    require_short,
)
from validation.evidence.schema import Facts, Schema

if TYPE_CHECKING:
    from validation.decision import GateResult

FILE: Final = "campaigns.jsonl"
"""Name of the log in the folder that holds the folders of runs."""
Ending = Literal["finished", "failed", "stopped"]
"""``finished``: the evidence is closed and was judged. ``failed``: an error ended the run.
``stopped``: a signal did."""


@dataclass(frozen=True, kw_only=True)
class Begun(Record):
    """A run begins, or a soak is resumed."""

    KIND = "begun"
    run: str
    evidence: str
    """Where its evidence will be: a file or the folder of a soak, from the log's folder."""
    command: str
    """Command that repeats the run."""
    system: Facts
    """What is known of the system so far, as ``evidence.identity.identity``."""


@dataclass(frozen=True, kw_only=True)
class Gathering(Record):
    """The stack is there, and the evidence file was opened."""

    KIND = "gathering"
    run: str
    system: Facts


@dataclass(frozen=True, kw_only=True)
class Ended(Record):
    """A run has ended by itself: it was not killed."""

    KIND = "ended"
    run: str
    status: Ending
    sha256: str
    """Digest of the evidence file, or of the soak's manifest; empty unless finished."""
    decision: str
    """What the gate says of this run alone; empty unless finished."""
    verdicts: Mapping[str, Literal["PASS", "FAIL", "INCONCLUSIVE"]]
    """By id of the criterion; empty unless finished."""
    reason: str
    """Why it ended; empty when finished."""


_SCHEMAS: Final[Mapping[str, Schema]] = {
    kind.KIND: Schema(kind) for kind in (Begun, Gathering, Ended)
}


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What the log says of one run."""

    run: str
    begun_at: float
    """Unix seconds; of a resumed soak, of its first begin."""
    evidence: Path
    system: Mapping[str, object]
    gathering: bool = False
    """Whether an evidence file was ever opened."""
    ended: Ended | None = None
    """None: abandoned, killed, or still going."""
    command: str = ""
    """Command that repeats the run."""
    ended_at: float | None = None
    """Unix seconds at which ``ended`` was written."""


@dataclass(frozen=True, kw_only=True)
class CampaignLog:
    """All runs of some logs."""

    campaigns: tuple[Campaign, ...] = ()
    """The oldest first."""
    problems: tuple[str, ...] = field(default=())
    """Why a log could not be read."""
    files: tuple[FileContent, ...] = field(default=(), compare=False, repr=False)
    """The logs as they were read."""


def begin(log: Path, run: str, *, evidence: Path, command: str, system: Facts) -> None:
    """Write that a run begins.

    Raises:
        InputError: the log is damaged.
    """
    place = os.path.relpath(evidence, log.parent)
    _append(log, Begun(run=run, evidence=place, command=command, system=system))


def gathering(log: Path, run: str, system: Facts) -> None:
    """Write that a run's evidence file exists now, and which system it is about."""
    _append(log, Gathering(run=run, system=system))


def end(
    log: Path,
    run: str,
    status: Ending,
    *,
    sha256: str = "",
    decision: str = "",
    verdicts: Mapping[str, str] | None = None,
    reason: str = "",
) -> None:
    """Write how a run ended."""
    fields = {"sha256": sha256, "decision": decision, "reason": reason[:500]}
    said = {"run": run, "status": status, "verdicts": dict(verdicts or {}), **fields}
    _append(log, _SCHEMAS[Ended.KIND].read(said))


def end_judged(log: Path, result: GateResult) -> None:
    """Write the end of a run that was judged alone."""
    (source,) = result.sources
    end(
        log,
        source.run,
        "finished",
        sha256=source.sha256,
        decision=result.decision.value,
        verdicts={name: verdict.status.value for name, verdict in result.verdicts.items()},
    )


@contextmanager
def logged(log: Path, run: str, *, evidence: Path, command: str, system: Facts) -> Generator[None]:
    """Write that a run begins; and how it ended, if an error or a signal ends it here.

    The error's message stays out of the log, because it may hold a password.
    """
    begin(log, run, evidence=evidence, command=command, system=system)
    try:
        yield
    except Exception as error:
        end(log, run, "failed", reason=f"ended by {type(error).__name__}")
        raise
    except BaseException as error:
        end(log, run, "stopped", reason=f"ended by {type(error).__name__}")
        raise


def read_logs(paths: Iterable[Path]) -> CampaignLog:
    """All runs of some logs; one that does not exist is left out."""
    found: list[Campaign] = []
    problems: list[str] = []
    files: list[FileContent] = []
    # Not Path.resolve, which refuses a link to itself by an error of its own.
    for path in dict.fromkeys(Path(os.path.realpath(path)) for path in paths):
        if not os.path.lexists(path):
            continue
        try:
            files.append(FileContent(path=path, content=read_file(path)))
            found += _campaigns(files[-1])
        except EvidenceError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    found.sort(key=lambda campaign: campaign.begun_at)
    return CampaignLog(campaigns=tuple(found), problems=tuple(problems), files=tuple(files))


def log_of(evidence: Path) -> Path:
    """Path of the log that lists a run: next to the folder of its evidence."""
    place = Path(os.path.realpath(evidence))
    return (place.parent if place.is_dir() else place.parent.parent) / FILE


def _campaigns(file: FileContent) -> list[Campaign]:
    path = file.path
    found: dict[str, Campaign] = {}
    for line, record in _lines(path, file.content):
        if isinstance(record, Begun):
            before = found.get(record.run)
            found[record.run] = Campaign(
                run=record.run,
                begun_at=line.at if before is None else before.begun_at,
                evidence=path.parent / record.evidence,
                system=record.system if before is None else {**before.system, **record.system},
                gathering=before is not None and before.gathering,
                command=record.command,
            )
            continue
        run = cast("Gathering | Ended", record).run
        if run not in found:
            raise EvidenceError(f"{path}, line {line.seq + 1}: run {run!r} was not begun")
        if isinstance(record, Gathering):
            found[run] = replace(
                found[run], system={**found[run].system, **record.system}, gathering=True
            )
        elif isinstance(record, Ended):
            found[run] = replace(found[run], ended=record, ended_at=line.at)
    return list(found.values())


def _lines(path: Path, content: bytes) -> list[tuple[Line, Record]]:
    """Every complete line with its record. A last line that was cut is left out."""
    found: list[tuple[Line, Record]] = []
    chain = GENESIS
    for number, text in complete_lines(content):
        try:
            require_short(text)
            line = read_line(text, number, chain)
            schema = _SCHEMAS.get(line.kind)
            if schema is None:
                raise EvidenceError(f"unknown kind {printable(line.kind)!r}")
            record = schema.read(printable(line.data) if line.escaped else line.data)
        except EvidenceError as error:
            raise EvidenceError(f"{path}, line {number + 1}: {error}") from None
        chain = line.chain
        found.append((line, record))
    return found


def _append(path: Path, record: Record, clock: Callable[[], float] = time.time) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"{path}: not a file; move it away, then a new log is begun")
    with undisturbed(), path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError(f"{path}: too large; move this file away, then a new log is begun")
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = _lines(path, whole)
        except EvidenceError as error:
            raise InputError(f"{error}; move this file away, then a new log is begun") from None
        chain = lines[-1][0].chain if lines else GENESIS
        text, _ = write_line(len(lines), record.KIND, clock(), record.data(), chain)
        if len(whole) < len(content):
            # Cut while it was written, for example by a full disk: nobody has read it.
            file.truncate(len(whole))
        file.write(text.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
