"""Rules on the ledger: what it holds of a workload is counted again from other records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Final

from validation.consistency.rule import TOLERANCE_S, Rule, events, kinds, quote
from validation.consistency.work import SAMPLED
from validation.evidence.base import Record
from validation.evidence.identity import SIMULATED
from validation.evidence.log import Evidence
from validation.evidence.queries import ATTACHED
from validation.evidence.records import Workload
from validation.evidence.records_ledger import (
    Audit,
    Coordinator,
    Fallback,
    Generation,
    Individuals,
    NodeCheck,
)

_LATER: Final = (
    *("content", "sample_seed", "winners", "independent", "independent_differing"),
    *("undecided", "without_path", "final_strategies", "irregular", "from_cache"),
)
"""Fields of an audit that one version added: all of them are known, or none."""
_LEAST_SHARE: Final = 0.05
"""Genomes of a random first generation are hardly ever equal; each is evaluated once."""
_BEHIND: Final = 2
"""Generations by which a reading may differ from the ledger: one is reported just after it was
committed, and numbers begin at 0 or 1."""


def _numbers(record: Evidence) -> Iterator[str]:
    """Generations are numbered in the order in which they ended, each once, from 0 or 1."""
    planned = {work.id: work.generations for _, work in events(record, Workload)}
    found: defaultdict[str, list[Generation]] = defaultdict(list)
    for _, one in events(record, Generation):
        found[one.workload].append(one)
    for name, generations in found.items():
        ordered = sorted(generations, key=lambda one: (one.finished_at, one.generation))
        numbers = [one.generation for one in ordered]
        whole = len(numbers) == planned.get(name) and numbers[-1] - numbers[0] >= len(numbers)
        if numbers != sorted(set(numbers)) or numbers[0] > 1 or whole:
            yield f"generations of {name} ended in the order {', '.join(map(str, numbers[:12]))}"


def _fields(record: Evidence) -> Iterator[str]:
    """An audit says all that its version says, and its parts fit into it.

    Besides winners, it repeats few evaluations of families without an independent path.
    """
    for event, audit in events(record, Audit):
        known = [name for name in _LATER if getattr(audit, name) is not None]
        if known and len(known) < len(_LATER):
            lacking = next(name for name in _LATER if name not in known)
            yield f"{quote(event, 'workload', lacking)}: the other fields are known"
        strategies, winners = audit.final_strategies, audit.winners
        judged = (audit.independent or 0) + (audit.undecided or 0)
        if known and judged < audit.sampled - (winners or 0) - SAMPLED:
            yield f"{quote(event, 'workload', 'sampled', 'winners', 'independent')}: too few judged"
        if strategies is not None and winners is not None and strategies > winners:
            yield f"{quote(event, 'workload', 'final_strategies', 'winners')}: all are winners"


def _wrong(record: Evidence) -> Iterator[str]:
    """What is lost is what is expected and not committed, and all that is wrong has witnesses."""
    for event, audit in events(record, Audit):
        if audit.lost != audit.expected - audit.committed:
            yield f"{quote(event, 'workload', 'expected', 'committed', 'lost')}: not the difference"
        counts = (audit.lost, audit.doubled, audit.failed, audit.mismatched)
        later = (audit.independent_differing or 0, audit.irregular or 0)
        if any((*counts, *later)) != bool(audit.witnesses):
            shown = quote(event, "workload", "lost", "doubled", "failed", "mismatched")
            yield f"{shown}: it names {len(audit.witnesses)} witnesses"


def _evaluated(record: Evidence) -> Iterator[str]:
    """A workload that finished evaluated its first generation, or found it in the cache."""
    cached = {audit.workload: audit.from_cache for _, audit in events(record, Audit)}
    for event, work in events(record, Workload):
        hits = cached.get(work.id)
        if work.exit_code != 0 or hits is None:
            continue
        if work.evaluations + hits < _LEAST_SHARE * work.population_size:
            yield (
                f"{quote(event, 'id', 'population_size', 'evaluations')}: with {hits} from the"
                " cache it did not evaluate its first generation"
            )


def _written(record: Evidence, kind: type[Record]) -> Iterator[str]:
    """A workload on the cluster is written with its failovers and its coordinator's memory."""
    named = {event.data["workload"] for event in record.of(kind.KIND)}
    if record.opening.backend == SIMULATED or not named:
        return
    for _, work in events(record, Workload):
        if work.exit_code == 0 and work.arm == "distributed" and work.id not in named:
            yield f"{work.id} used the cluster and has no record of kind {kind.KIND}"


def _checked(record: Evidence) -> Iterator[str]:
    """A node is checked before it evaluates."""
    checked = {check.workload for _, check in events(record, NodeCheck)}
    if record.opening.backend == SIMULATED or not checked:
        return
    for _, work in events(record, Workload):
        if work.exit_code == 0 and work.evaluations and work.id not in checked:
            yield f"{work.id} evaluated, and no node was checked for it"


def _progress(record: Evidence) -> Iterator[str]:
    """A coordinator reports the generations that its ledger shows as committed by then."""
    ended: defaultdict[str, list[float]] = defaultdict(list)
    for _, one in events(record, Generation):
        ended[one.workload].append(one.finished_at)
    for event, held in events(record, Coordinator):
        times = ended.get(held.workload)
        if not times or record.opening.backend == ATTACHED:
            continue
        for at, done in zip(held.at, held.generations, strict=False):
            least = sum(end < at - TOLERANCE_S for end in times)
            most = sum(end < at + TOLERANCE_S for end in times)
            if not least - _BEHIND <= done <= most + _BEHIND:
                yield (
                    f"{quote(event, 'workload')}: {done} generations reported, {least} to {most}"
                    " committed"
                )
                break


def _places(record: Evidence) -> Iterator[str]:
    """The places of a generation are as many as its individuals, and each generation has them."""
    sound = {audit.workload for _, audit in events(record, Audit) if not audit.lost + audit.doubled}
    held = {
        (one.workload, one.generation): one.individuals for _, one in events(record, Generation)
    }
    for event, one in events(record, Individuals):
        expected = held.get((one.workload, one.generation))
        if one.workload not in sound or expected is None:
            continue
        shown = quote(event, "workload", "generation", "found", "again")
        if _count(one.found) != expected or one.again:
            yield f"{shown}: its generation holds {expected} individuals"
    known = {(one.workload, one.generation) for _, one in events(record, Individuals)}
    for event, generation in events(record, Generation):
        if (generation.workload, generation.generation) not in known:
            yield f"{quote(event, 'workload', 'generation')} has no record of its individuals"


def _count(ranges: str) -> int:
    """How many places ranges like ``0-4,7`` name."""
    count = 0
    for part in filter(None, ranges.split(",")):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


RULES: Final = (
    Rule(name="generations are numbered in order", kinds=kinds(Generation), check=_numbers),
    Rule(name="an audit is complete", kinds=kinds(Audit), check=_fields),
    Rule(name="what is wrong has witnesses", kinds=kinds(Audit), check=_wrong),
    Rule(
        name="a first generation was evaluated",
        kinds=kinds(Workload, Audit),
        check=_evaluated,
    ),
    *(
        Rule(
            name="workloads have all their records",
            kinds=kinds(kind),
            check=partial(_written, kind=kind),
        )
        for kind in (Fallback, Coordinator)
    ),
    Rule(name="nodes are checked before they evaluate", kinds=kinds(NodeCheck), check=_checked),
    Rule(
        name="coordinators report committed generations",
        kinds=kinds(Coordinator, Generation),
        check=_progress,
    ),
    Rule(
        name="every individual of a generation has its place",
        kinds=kinds(Individuals, Generation),
        check=_places,
    ),
)
