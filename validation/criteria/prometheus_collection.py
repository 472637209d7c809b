"""Prometheus collects from the head and every node."""

from __future__ import annotations

import math
from collections import Counter
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
from validation.limits import FRESH_S
from validation.mutation import injectors
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    inconclusive,
    plural,
)

FRESH: Final = Threshold(
    criterion="prometheus_collection",
    name="fresh",
    unit="%",
    stricter="higher",
    sensible=95.0,
    most=99.99,
)
"""Share of readings of a target that must be fresh, as the plan demands it of the uptime."""


def prometheus_collection(records: Records) -> Verdict:
    """Prometheus finds a target up, with a sample no older than 15 s, at 99 % of the readings.

    Expected are the head, every node with a usage reading, and as many nodes as the run began
    with; each with 10 readings at times when it was not down by a receipt. Exact bounds decide.
    PASS: the lower one of all readings is at least 99 %. FAIL: the upper one is below 99 %, of all
    readings, of one run or of one target in it: other targets do not make up for it.
    """
    every = _Readings()
    wrong: list[str] = []
    for record in records:
        own = _Readings()
        _collect(record, own)
        wrong += [f"run {record.run}: {words}" for words in own.wrong]
        every.add(own)
    misses, count = every.misses, every.count
    needs = f"{FEWEST_PROBES} fresh readings of the head and of every node, throughout the work"
    if not count:
        raise InconclusiveError("Prometheus was not asked for its targets", needs=needs)
    bad = statistics.proportion(len(misses), count)
    fresh = statistics.proportion(count - len(misses), count)
    interval = (100 * bad.lower, 100 * bad.upper)
    measured = f"{len(misses)} of {count} readings of {len(every.targets)} targets bad"
    budget = (
        f"{100 * (1 - FRESH.value):g} % of the readings may be bad, "
        f"{(1 - FRESH.value) * count:.1f}; "
        f"{len(misses)} were; of the others the oldest sample was {every.oldest:.1f} s old"
    )
    seen = sorted(set(misses))
    if wrong or fresh.upper < FRESH.value:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=format_list([*wrong, *seen], most=4),
            budget=budget,
        )
    problems = sorted(set(every.problems))
    if fresh.lower < FRESH.value:
        more = statistics.successes_needed(count - len(misses), count, FRESH.value)
        return inconclusive(
            format_list([f"{measured}, too few to show {100 * FRESH.value:g} %", *seen, *problems]),
            needs=f"{plural(more, 'more reading')} that is fresh; {needs}",
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"oldest fresh sample {every.oldest:.1f} s"
        + (f"; bad: {format_list(seen)}" if seen else ""),
        budget=budget,
    )
    return downgrade(verdict, problems, needs=needs)


@dataclass
class _Readings:
    """What Prometheus told of its targets."""

    misses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What keeps the verdict from being a PASS."""
    judged: Counter[str] = field(default_factory=Counter)
    """Readings that were judged, by target."""
    bad: Counter[str] = field(default_factory=Counter)
    """Readings that were bad, by target."""
    oldest: float = 0.0
    """Age of the oldest sample that was fresh, in seconds."""
    targets: set[str] = field(default_factory=set)

    @property
    def count(self) -> int:
        """All readings that were judged."""
        return self.judged.total()

    @property
    def wrong(self) -> list[str]:
        """Targets, and the whole, whose share of fresh readings is below the target's."""
        # Each of many targets may look bad by chance: they share the probability of that.
        confidence = 1 - (1 - statistics.CONFIDENCE) / (len(self.judged) + 1)
        counts = [*self.judged.items(), ("all targets", self.count)]
        found = []
        for name, of in counts:
            bad = self.bad.total() if name == "all targets" else self.bad[name]
            share = statistics.proportion(of - bad, of, confidence=confidence) if of else None
            if share is not None and share.upper < FRESH.value:
                found.append(f"{bad} of {of} readings of {name} were bad")
        return found

    def add(self, other: _Readings) -> None:
        """Add the readings of another run."""
        self.misses += other.misses
        self.problems += other.problems
        self.judged += other.judged
        self.bad += other.bad
        self.oldest = max(self.oldest, other.oldest)
        self.targets |= other.targets


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
    found.judged[scrape.target] += 1
    if _good(scrape):
        found.oldest = max(found.oldest, scrape.age_s or 0.0)
        return
    if scrape.up and (scrape.age_s is None or not math.isfinite(scrape.age_s)):
        found.problems.append(f"{scrape.target} was up without a sample")
        return
    found.bad[scrape.target] += 1
    found.misses.append(
        f"{scrape.target} was down"
        if not scrape.up
        else f"{scrape.target}'s newest sample was {scrape.age_s:.0f} s old"
    )


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
            target="≥ 99 % of readings: target up, sample ≤ 15 s old",
            unit="% of readings bad",
            clause=f'{GO}: "All monitoring systems functional and collecting metrics"',
            evidence_needed="10 or more readings of every target, throughout the work",
            passes=(
                "the exact (Clopper-Pearson) lower 95 % bound of the share of readings at which a "
                "target is up, and its last sample at most 15 s old, is at least 99 %; outages "
                "with a receipt excepted"
            ),
            fails=(
                "the upper bound is below 99 %, of all readings, or of one run or one target in "
                "it, which share the error probability"
            ),
            measures=(
                "at each reading, every 2 s (in a soak every 45 s): whether Prometheus holds the "
                "head and every node up, and the time from its newest sample to the reading"
            ),
            clock="the gate's wall clock, and the samples' times by Prometheus' clock",
            limits=(
                "readings are not independent, so the bound is one of the time that was watched; "
                "that the samples' values are right is grafana_functional's to judge"
            ),
            verdict=prometheus_collection,
            trusts=(
                CLOCK,
                SCRAPE_GAPS,
                PROMETHEUS,
            ),
            timed=True,
            position=70,
            thresholds=(FRESH,),
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
