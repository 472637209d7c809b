"""Nothing runs out of memory, and no part would within 48 hours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from validation import statistics
from validation.contract import CLOCK, Criterion, CriterionPlugin, Mutant
from validation.criteria.generation_time import GENERATION_S
from validation.criteria.helpers import FEWEST
from validation.criteria.memory_growth import (
    FEWEST_READINGS,
    MB,
    STRETCH_S,
    Growth,
    Stretch,
    cut_at_starts,
    missing,
    missing_seconds,
)
from validation.criteria.plan import METRICS
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, longest_gap, used_cluster
from validation.evidence.records import (
    MemoryFailure,
    Usage,
    Workload,
)
from validation.evidence.records_ledger import Coordinator
from validation.mutation.patches import BEGINS, DRIVER, FLEET, HOG, WORKER, patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
)

CERTAIN_STRETCH_S: Final = 180.0
"""Over less time a starting load looks like a leak, so growth is not a FAIL."""


LEAK_SHARE: Final = 0.10
"""Growth within the record, as a share of the limit, that may fail a part."""


STEADY_S: Final = 3600.0
"""In a stretch of at least this length slower growth fails, too, if the second half shows it by
itself: no load takes so long to start.
"""


HORIZON_S: Final = 48 * 3600.0


HORIZON_GENERATIONS: Final = round(HORIZON_S / GENERATION_S)
"""Generations of 48 hours at the plan's pace; a coordinator grows with its history."""


WARM_UP_GENERATIONS: Final = 5


FEWEST_GENERATIONS: Final = 8
"""Generations after the warm-up, and readings, from which the growth of a coordinator is estimated.
"""


COORDINATOR: Final = "coordinator"


BLOCK_S: Final = 10.0


@dataclass
class _Found:
    events: list[str] = field(default_factory=list)
    """Out-of-memory events."""
    leaks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    parts: dict[str, None] = field(default_factory=dict)
    """Nodes that were read, in order."""
    growths: dict[str, Growth] = field(default_factory=dict)
    """By part, from the longest record of it."""


def memory_stability(records: Records) -> Verdict:
    """No out-of-memory event, and no part whose memory may fill its limit within 48 hours.

    Parts are the worker nodes, the head, and the coordinator (``evolve`` with its driver). A node's
    readings are cut at its kills and starts, and 30 s of warm-up are left out; its slope over time
    is estimated after Theil and Sen. A coordinator keeps its history by design, so its slope is
    taken over generations, of which 576 fit in 48 h at the plan's pace.

    - PASS: the peak plus the upper bound of the slope, continued for 48 h, stays below the limit
      for every part. Where several records show a part, the longest stretch counts.
    - FAIL: the lower bound reaches the limit, and growth was at least 10 % of it within 3 minutes
      or more, or lasted an hour or more (the second half shows it, too).
    - else INCONCLUSIVE, with the time that is missing: minutes cannot show that a small leak is
      absent.
    """
    found = _Found()
    for record in records:
        _nodes(record, found)
    found.problems += [
        f"{node} was not watched for {STRETCH_S:.0f} s and {FEWEST_READINGS} readings after its "
        "warm-up"
        for node in found.parts
        if node not in found.growths and not any(node in one for one in found.problems)
    ]
    _coordinators(records, found)
    worst = max(
        (g for g in found.growths.values() if g.timed),
        key=lambda growth: growth.most / growth.limit,
        default=None,
    )
    interval = None
    if worst is not None:
        bounds = (worst.slope.lower * 60 / MB, worst.slope.upper * 60 / MB)
        interval = bounds if not math.isnan(sum(bounds)) else None
    events, leaks = found.events, found.leaks
    budget = f"no out-of-memory event is allowed; {len(events)} seen"
    if events or leaks:
        return Verdict(
            status=Status.FAIL,
            measured=f"{plural(len(events), 'out-of-memory event')}, {plural(len(leaks), 'leak')}",
            interval=interval,
            reason=format_list(events + leaks),
            budget=budget,
        )
    if not found.growths:
        raise InconclusiveError(
            format_list(found.problems or ["no memory was read"]),
            needs="memory readings with a known limit, over 90 s of every node's life, "
            "about 90 s more",
        )
    shares = {growth.part: growth.most / growth.limit for growth in found.growths.values()}
    fullest = found.growths[max(shares, key=lambda part: shares[part])]
    open_ones = [growth for growth in found.growths.values() if growth.most >= growth.limit]
    verdict = Verdict(
        status=Status.PASS,
        measured=f"0 out-of-memory events; at most {_percent(max(shares.values()))} of a limit "
        "after 48 h",
        interval=interval,
        reason=fullest.words,
        budget=budget,
    )
    verdict = downgrade(
        verdict,
        [*(f"{one.words}: a leak cannot be excluded" for one in open_ones), *found.problems],
        needs=missing(open_ones),
    )
    return replace(verdict, more_s=missing_seconds(open_ones))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share < 100 else "many times 100 %"


def _nodes(record: Evidence, found: _Found) -> None:
    """Judge the nodes and the head of one record."""
    found.events += [failure.detail for failure in record.all(MemoryFailure)]
    readings: dict[str, list[Usage]] = {}
    for usage in record.all(Usage):
        readings.setdefault(usage.node, []).append(usage)
    if len(readings.keys() - {HEAD}) < record.opening.nodes:
        found.problems.append(f"run {record.run}: not every node's memory was read")
    for node, usages in sorted(readings.items()):
        usages.sort(key=lambda u: u.at)
        if kills := max(u.oom_kills for u in usages):
            found.events.append(f"{plural(kills, 'out-of-memory kill')} on {node}")
        stretches = [s for s in cut_at_starts(record, node, usages) if s.enough]
        found.parts[node] = None
        for stretch in stretches:
            _judge(stretch, found)
        unwatched = longest_gap(record, [u.at for u in usages], f"the memory readings of {node}")
        found.problems += [unwatched] if unwatched else []


def _judge(stretch: Stretch, found: _Found) -> None:
    """Add the growth of one stretch, and a leak that it proves."""
    if stretch.limit is None:
        found.problems.append(f"no memory limit of {stretch.node} is in force")
        return
    growth = _growth(stretch, stretch.limit)
    known = found.growths.get(stretch.node)
    if known is None or stretch.span > known.seen:
        found.growths[stretch.node] = growth
    large = growth.slope.point * stretch.span > LEAK_SHARE * stretch.limit
    lasting = stretch.span >= STEADY_S and _growth(stretch.second_half, stretch.limit).certain
    if growth.certain and stretch.span >= CERTAIN_STRETCH_S and (large or lasting):
        found.leaks.append(
            f"{stretch.node} grew by {growth.slope.point * 60 / MB:.1f} MB/min over "
            f"{stretch.span:.0f} s: over {growth.level / MB:.0f} MB, its limit is reached "
            "within 48 h"
        )


def _growth(stretch: Stretch, limit: float) -> Growth:
    return Growth(
        part=stretch.node,
        timed=True,
        slope=statistics.trend(stretch.times, stretch.memory, block=BLOCK_S),
        steps=HORIZON_S,
        seen=stretch.span,
        level=sorted(stretch.memory)[len(stretch.memory) // 2],
        peak=max(stretch.memory),
        limit=limit,
    )


def _coordinators(records: Records, found: _Found) -> None:
    """Judge the coordinators of all workloads that used the cluster.

    With three or more, the mean of their slopes decides; before, the widest bounds.
    """
    slopes: list[statistics.Estimate] = []
    levels: list[float] = []
    seen = 0.0
    limits = [u.limit_bytes for r in records for u in r.all(Usage) if u.node != HEAD]
    for generations, memory in _histories(records):
        slope = statistics.trend(generations, memory, block=1.0)
        slopes.append(slope)
        levels.append(max(memory))
        seen = max(seen, generations[-1] - generations[0])
    known = [limit for limit in limits if limit]
    if not slopes or not known:
        what = "the memory of no coordinator was read" if not slopes else "no limit is known"
        found.problems.append(f"{what} over {FEWEST_GENERATIONS} generations after its warm-up")
        return
    slope = (
        statistics.mean([one.point for one in slopes])
        if len(slopes) >= FEWEST
        else max(slopes, key=lambda one: one.upper)
    )
    growth = Growth(
        part=COORDINATOR,
        timed=False,
        slope=slope,
        steps=HORIZON_GENERATIONS,
        seen=seen,
        level=min(levels),
        peak=max(levels),
        limit=float(min(known)),
    )
    found.growths[COORDINATOR] = growth
    if growth.certain and growth.slope.point * seen > LEAK_SHARE * growth.limit:
        found.leaks.append(
            f"the coordinator grew by {growth.slope.point / MB:.1f} MB a generation: it reaches "
            f"{growth.limit / MB:,.0f} MB within the {HORIZON_GENERATIONS} generations of 48 h"
        )


def _histories(records: Records) -> Iterator[tuple[list[float], list[float]]]:
    """Generations committed and bytes held, of each coordinator that was watched long enough."""
    for record in records:
        planned = {w.id: w.generations for w in record.all(Workload) if used_cluster(w)}
        for one in record.all(Coordinator):
            if one.workload not in planned:
                continue
            # After the last generation it only ends.
            pairs = [
                (float(generation), float(held))
                for generation, held in zip(one.generations, one.memory_bytes, strict=False)
                if WARM_UP_GENERATIONS <= generation < planned[one.workload]
            ]
            if len(pairs) < FEWEST_GENERATIONS:
                continue
            if pairs[-1][0] - pairs[0][0] + 1 >= FEWEST_GENERATIONS and len(set(pairs)) > 2:
                yield [generation for generation, _ in pairs], [held for _, held in pairs]


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="memory_stability",
            statement="Nothing runs out of memory, and no part would within 48 hours",
            target="0 out-of-memory events, no limit reached in 48 h",
            unit="MB/min",
            clause=f'{METRICS}: "memory_usage_stability ... No out-of-memory errors"',
            evidence_needed="readings of every node, the head and the coordinators, with a known "
            "limit, long enough to exclude a leak: about an hour (python -m validation soak)",
            passes=(
                "no out-of-memory event (the nodes' control groups, errors of the engine, Ray's "
                "evictions by Prometheus); and for every node, the head and the coordinator, the "
                "peak plus the upper bound of its growth, continued for 48 h, is below the limit"
            ),
            fails="an event; or the lower bound of a growth reaches the limit in 48 h, where it "
            "was 10 % of the limit within 3 minutes or more, or lasted an hour in both halves",
            measures="anonymous memory of each node and the head from the first work on the cluster"
            " on, without the 30 s after a start: the slope over time (Theil-Sen), of the longest "
            "stretch between two starts; of each coordinator (evolve and its driver), the slope "
            f"over generations after the first {WARM_UP_GENERATIONS}, continued for the "
            f"{HORIZON_GENERATIONS} generations of 48 h at the plan's pace, against the limit of a "
            "node",
            clock="the kernel's control groups and /proc, read by the gate; the limit as the kernel"
            " states it at each reading",
            limits="leaks that begin later, or under work that was not done while it was watched; "
            "memory that is not anonymous, as of files and shared objects",
            verdict=memory_stability,
            trusts=(CLOCK,),
            position=110,
            soak_s=STEADY_S,
        ),
    ),
    mutants=(
        Mutant(
            name="a coordinator that leaks 30 MB a generation",
            criterion="memory_stability",
            stages=("recovery",),
            patches=patch(
                "ga/runner.py",
                '            self._log.write("generation", generation',
                '            held = self.__dict__.setdefault("held", [])\n'
                '            held.append(bytearray(b"x") * 30_000_000)\n'
                '            self._log.write("generation", generation',
            ),
        ),
        Mutant(
            name="a node that leaks 1 MB a minute, for two days (simulated)",
            criterion="memory_stability",
            stages=("soak",),
            simulated="leak",
        ),
        Mutant(
            name="out of memory on a node",
            criterion="memory_stability",
            stages=("recovery",),
            patches=patch(WORKER, BEGINS, HOG + BEGINS),
        ),
        Mutant(
            name="out of memory on a node, kept from the log",
            criterion="memory_stability",
            stages=("recovery",),
            patches=(
                *patch(WORKER, BEGINS, HOG + BEGINS),
                *patch(
                    FLEET,
                    "            return BatchFailure.MEMORY\n",
                    "            return BatchFailure.CRASHED\n",
                ),
                *patch(
                    DRIVER,
                    "import os\n",
                    'import os\nimport sys\nsys.stderr = open(os.devnull, "w")\n',
                ),
            ),
        ),
    ),
)
