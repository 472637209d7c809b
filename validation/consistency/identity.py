"""Rules on what a run says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from validation.consistency.rule import Rule, events, kinds, quote
from validation.evidence.base import Record
from validation.evidence.log import Evidence
from validation.evidence.queries import OWN_STACKS
from validation.evidence.records import (
    CpuWindow,
    Environment,
    Fault,
    Invocation,
    Recovery,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import (
    Audit,
    Fallback,
    Generation,
    LedgerCopy,
    Refusal,
    Restore,
)
from validation.evidence.records_load import Load, Scaling, ServiceRestart
from validation.evidence.records_monitoring import AlertWatch, Job, Notification, Panel, StartUp
from validation.evidence.records_network import Drain, RoundTrips, Search, Survey
from validation.evidence.records_price import NodePrice
from validation.evidence.records_self_check import HarnessReading, MachineReading

_REPLAY: Final = re.compile(
    r"(?:pytest|python -m (?:pytest|validation)|evolution-gate|tox)(?: [\w./:=,@%+'-]+)*"
)
_ONCE: Final[tuple[type[Record], ...]] = (
    *(Usage, Services, HarnessReading, MachineReading, RoundTrips, Refusal, Restore, LedgerCopy),
    *(AlertWatch, Notification, Job, StartUp),
    *(NodePrice, Drain, Fallback, Scaling, Load, ServiceRestart, Search, Survey, Fault, Recovery),
    *(Workload, Generation, Audit, CpuWindow, Panel, Environment, Invocation),
)
_FACTS: Final = ("commit", "cores", "memory_bytes", "python", "ray")


def _replay(record: Evidence) -> Iterator[str]:
    """The command that repeats a run is one of this gate, without a second one behind it."""
    command = record.opening.replay
    if not _REPLAY.fullmatch(command):
        yield f"line 1 (open): {command[:80]!r} is no command of this gate"


def _environment(record: Evidence) -> Iterator[str]:
    if record.opening.backend not in OWN_STACKS:
        return
    found = record.all(Environment)
    if len(found) != 1:
        yield f"it describes its machine {len(found)} times"
        return
    missing = [name for name in _FACTS if name not in found[0].values]
    if missing:
        yield f"its description of the machine lacks {', '.join(missing)}"


def _repeated(record: Evidence) -> Iterator[str]:
    """Each of these describes something that happened once, or was read at one moment."""
    for kind in _ONCE:
        seen: dict[str, int] = {}
        for event in record.of(kind.KIND):
            key = repr(sorted(event.record.data().items()))
            if key in seen:
                yield f"line {event.seq + 1} repeats line {seen[key] + 1} ({kind.KIND})"
                break
            seen[key] = event.seq


def _seeds(record: Evidence) -> Iterator[str]:
    """All random choices of a run follow from its seed."""
    for event, work in events(record, Workload):
        if work.seed != record.opening.seed:
            yield f"{quote(event, 'id', 'seed')}: the run has the seed {record.opening.seed}"


RULES: Final = (
    Rule(name="no record is there twice", kinds=kinds(*_ONCE), check=_repeated),
    Rule(name="workloads have the seed of the run", kinds=kinds(Workload), check=_seeds),
    Rule(name="a run can be repeated", kinds=frozenset(), check=_replay),
    Rule(name="a run describes its machine", kinds=frozenset(), check=_environment),
)
