"""What a decision says of the evidence, the faults and the plug-ins that it rests on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from validation.contract import CriterionPlugin
from validation.evidence.identity import PLUGIN, described
from validation.evidence.log import Evidence
from validation.evidence.records import Environment
from validation.evidence.records_target import GuardEvent
from validation.verdict import Records


@dataclass(frozen=True, kw_only=True)
class Source:
    """An evidence file that the decision is based on."""

    path: str
    run: str
    seed: int
    sha256: str
    events: int
    closed: bool
    replay: str
    """Shell command that repeats the run."""
    started_at: float
    """Unix seconds."""
    backend: str
    nodes: int
    system: str
    """What it was made on, in words."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A file of custom criteria."""

    argument: str
    """What ``--with`` names it by."""
    sha256: str
    """Digest of its content."""
    criteria: tuple[str, ...]
    """Ids of its criteria."""

    @property
    def text(self) -> str:
        """It in words, in one line."""
        return f"{self.argument} (sha256 {self.sha256[:16]}): {', '.join(self.criteria)}"


def not_undone(records: Records) -> tuple[str, ...]:
    """What the guard could not undo, and targets that did not become steady again."""
    found = []
    for record in records:
        for event in record.all(GuardEvent):
            where = f"in run {record.run}: {event.detail}"
            if event.event == "not undone":
                found.append(f"NOT UNDONE: {event.fault} of {event.target} {where}")
            elif event.event == "unsteady":
                found.append(f"NOT STEADY AGAIN: {event.target} {where}")
    return tuple(" ".join(text.split()) for text in found)


def described_plugin(plugin: CriterionPlugin) -> Plugin:
    """What a decision says of a file of custom criteria."""
    content = b"" if plugin.file is None else plugin.file.read_bytes()
    return Plugin(
        argument=plugin.argument,
        sha256=hashlib.sha256(content).hexdigest(),
        criteria=tuple(criterion.id for criterion in plugin.criteria),
    )


def foreign_code(records: Records) -> tuple[str, ...]:
    """Files of ``--with`` that ran with the stages of some runs, as these say."""
    found = []
    for record in records:
        for environment in record.all(Environment):
            found += [
                f"{name.removeprefix(PLUGIN)} (sha256 {str(digest)[:16]}) in run {record.run}"
                for name, digest in environment.values.items()
                if name.startswith(PLUGIN)
            ]
    return tuple(found)


def source_of(record: Evidence) -> Source:
    """What a decision says of one evidence file."""
    return Source(
        path=record.source,
        run=record.run,
        seed=record.opening.seed,
        sha256=record.sha256,
        events=len(record.events),
        closed=record.closed,
        replay=record.opening.replay,
        started_at=record.opening.started_at,
        backend=record.opening.backend,
        nodes=record.opening.nodes,
        system=described(record),
    )
