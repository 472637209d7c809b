"""What changed between two gates: decision, verdicts, and what they ran on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from validation.decision import decide
from validation.evidence.log import Evidence
from validation.evidence.records import Environment


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference between the two."""

    kind: str
    """``decision``, ``verdict``, ``measured`` or ``environment``."""
    name: str
    """Id of the criterion, or name of the value."""
    before: str
    after: str


def difference(before: Sequence[Evidence], after: Sequence[Evidence]) -> tuple[Change, ...]:
    """Compare two sets of records, both judged by the current rules.

    Raises:
        EvidenceError: one of them is empty, or holds the same run twice.
    """
    first, second = decide(before), decide(after)
    found = []

    def compare(kind: str, name: str, old: str, new: str) -> None:
        if old != new:
            found.append(Change(kind=kind, name=name, before=old or "-", after=new or "-"))

    compare("decision", "gate", first.decision.value, second.decision.value)
    for name, verdict in first.verdicts.items():
        other = second.verdicts[name]
        compare("verdict", name, verdict.status.value, other.status.value)
        compare("measured", name, verdict.measured, other.measured)
    old, new = _environment(before), _environment(after)
    for name in sorted(old.keys() | new.keys()):
        compare("environment", name, old.get(name, ""), new.get(name, ""))
    return tuple(found)


def _environment(records: Sequence[Evidence]) -> dict[str, str]:
    """Name -> all its values, in order."""
    values: dict[str, list[str]] = {}
    for record in records:
        opening = record.opening
        facts: dict[str, object] = {
            "backend": opening.backend,
            "nodes": opening.nodes,
            "CPU of a node": opening.cpus_per_node,
        }
        for environment in record.all(Environment):
            facts |= environment.values
        for name, value in facts.items():
            known = values.setdefault(name, [])
            if str(value) not in known:
                known.append(str(value))
    return {name: ", ".join(known) for name, known in values.items()}
