"""Prometheus collects from the head and every node."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from validation import statistics
from validation.contract import CLOCK, PROMETHEUS, SCRAPE_GAPS, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import FEWEST_PROBES
from validation.criteria.plan import GO
from validation.evidence.log import Evidence
from validation.evidence.queries import ATTACHED, HEAD, is_excused, longest_gap
from validation.evidence.records import (
    Services,
    Usage,
)
from validation.evidence.records_monitoring import Scrape
from validation.mutation import injectors
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)

FRESH_S: Final = 15.0


def prometheus_collection(records: Records) -> Verdict:
    """Prometheus finds every target up, with a sample no older than 15 s, at every reading.

    Expected are the head, every node with a usage reading, and as many nodes as the run began
    with; each with 10 readings at times when it was not down by a receipt.
    """
    found = _Readings()
    for record in records:
        _collect(record, found)
    misses, count, oldest = found.misses, found.count, found.oldest
    budget = f"every target must be up with a sample at most {FRESH_S:.0f} s old; " + (
        f"{len(misses)} bad" if misses else f"the oldest was {oldest:.1f} s"
    )
    if misses:
        bad = statistics.proportion(len(misses), count)
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(misses)} of {count} readings bad",
            interval=(100 * bad.lower, 100 * bad.upper),
            reason=format_list(sorted(set(misses))),
            budget=budget,
        )
    needs = f"{FEWEST_PROBES} fresh readings of the head and of every node, throughout the work"
    if not count:
        raise InconclusiveError("Prometheus was not asked for its targets", needs=needs)
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{len(found.targets)} targets up in {count} readings",
        reason=f"oldest sample {oldest:.1f} s",
        budget=budget,
    )
    return downgrade(verdict, sorted(set(found.problems)), needs=needs)


@dataclass
class _Readings:
    """What Prometheus told of its targets in all records."""

    misses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What keeps the verdict from being a PASS."""
    count: int = 0
    """Readings that were judged."""
    oldest: float = 0.0
    """Age of the oldest sample that was fresh, in seconds."""
    targets: set[str] = field(default_factory=set)


def _collect(record: Evidence, found: _Readings) -> None:
    """Add the readings of one record."""
    good: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    for event in record.of(Scrape.KIND):
        scrape = event.record
        if not isinstance(scrape, Scrape):
            continue
        times.setdefault(scrape.target, []).append(event.at)
        if scrape.excused:
            # A good reading needs no excuse: one taken just before the fault is often marked.
            if not _good(scrape) and not is_excused(record, (scrape.target,), event.at):
                found.problems.append(f"{scrape.target} was excused without a receipt")
            continue
        if not _good(scrape) and is_excused(record, ("prometheus",), event.at):
            # Nobody was there to be asked, by receipt.
            continue
        good[scrape.target] = good.get(scrape.target, 0) + 1
        _judge(scrape, found)
    nodes = _expected_nodes(record, times)
    expected = nodes | {HEAD}
    if len(nodes) < record.opening.nodes:
        found.problems.append(
            f"run {record.run}: {len(nodes)} of {record.opening.nodes} nodes are known"
        )
    found.problems += [
        f"{target}: {plural(good.get(target, 0), 'reading')}"
        for target in sorted(expected)
        if good.get(target, 0) < FEWEST_PROBES
    ]
    for target in sorted(expected & times.keys()):
        unwatched = longest_gap(record, times[target], f"the readings of {target}")
        found.problems += [unwatched] if unwatched else []
    found.targets |= expected


def _judge(scrape: Scrape, found: _Readings) -> None:
    """Count one reading, and note what is wrong with it."""
    found.count += 1
    if not scrape.up:
        found.misses.append(f"{scrape.target} was down")
    elif scrape.age_s is None or not math.isfinite(scrape.age_s):
        found.problems.append(f"{scrape.target} was up without a sample")
    elif scrape.age_s > FRESH_S:
        found.misses.append(f"{scrape.target}'s newest sample was {scrape.age_s:.0f} s old")
    else:
        found.oldest = max(found.oldest, scrape.age_s)


def _expected_nodes(record: Evidence, scraped: Collection[str]) -> set[str]:
    """Nodes that Prometheus must know of."""
    if record.opening.backend == ATTACHED:
        # It is not read from outside.
        watched = {name for one in record.all(Services) for name in one.incarnations}
        return (watched & set(scraped)) - {HEAD}
    return {usage.node for usage in record.all(Usage)} - {HEAD}


def _good(scrape: Scrape) -> bool:
    return scrape.up and scrape.age_s is not None and scrape.age_s <= FRESH_S


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="prometheus_collection",
            statement="Prometheus collects from the head and every node",
            target="every target up, sample ≤ 15 s old",
            unit="% of readings bad",
            clause=f'{GO}: "All monitoring systems functional and collecting metrics"',
            evidence_needed="10 or more readings of every target, throughout the work",
            passes=(
                "every target is up, and its last sample at most 15 s old, at every reading; "
                "outages with a receipt excepted"
            ),
            fails="a target was down, or its last sample was older",
            verdict=prometheus_collection,
            trusts=(
                CLOCK,
                SCRAPE_GAPS,
                PROMETHEUS,
            ),
            timed=True,
            position=70,
        ),
    ),
    mutants=(
        Mutant(
            name="dead exporter",
            criterion="prometheus_collection",
            stages=("watch",),
            injector=injectors.exporter_killed,
        ),
        Mutant(
            name="a Prometheus that stands still",
            criterion="prometheus_collection",
            stages=("watch",),
            injector=injectors.prometheus_stopped,
        ),
    ),
)
