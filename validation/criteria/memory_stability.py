"""Nothing runs out of memory and no node leaks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from validation import statistics
from validation.contract import CLOCK, Criterion, CriterionPlugin, Mutant
from validation.criteria.plan import METRICS
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, longest_gap
from validation.evidence.records import (
    Environment,
    Fault,
    MemoryFailure,
    Usage,
    Workload,
)
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

FEWEST_READINGS: Final = 20


STRETCH_S: Final = 60.0
"""Least time after its warm-up that a node must be watched."""


WARM_UP_S: Final = 30.0
"""After its start a node loads libraries and fills pools: that growth is no leak."""


CERTAIN_STRETCH_S: Final = 180.0
"""Over less time a starting load looks like a leak, so growth is not a FAIL."""


LEAK_SHARE: Final = 0.10
"""Growth within the record, as a share of the limit, that fails a node."""


NOTICE_SHARE: Final = 0.01
"""Proven growth of this share of the limit keeps a node from passing."""


HORIZON_S: Final = 48 * 3600.0


BLOCK_S: Final = 10.0


_MB: Final = 1e6


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Readings of one node between two starts, its warm-up left out."""

    node: str
    times: Sequence[float]
    memory: Sequence[float]
    limit: float | None

    @property
    def span(self) -> float:
        return self.times[-1] - self.times[0] if self.times else 0.0

    @property
    def enough(self) -> bool:
        return len(self.times) >= FEWEST_READINGS and self.span >= STRETCH_S


def memory_stability(records: Records) -> Verdict:
    """No out-of-memory event, and no node whose memory keeps growing.

    Each node's readings are cut at its kills and starts, and 30 s of warm-up are left out. In its
    longest stretch (60 s and 20 readings at least) the slope is estimated after Theil and Sen:

    - FAIL: within 3 minutes or more it grew by over 10 % of the limit, and even the lower bound of
      the slope crosses the limit within 48 hours.
    - PASS: even the upper bound of the slope adds less than 10 % of the limit within the stretch,
      and no growth of 1 % of the limit or more is proven.
    - else INCONCLUSIVE: memory grew without proof of a leak, or there are too few readings.

    So a steady leak is missed only while it adds less than 1 % of the limit during the record; the
    reason states that resolution, and a longer record improves it.
    """
    events: list[str] = []
    problems: list[str] = []
    leaks: list[str] = []
    growths: list[float] = []
    slopes: list[tuple[float, float]] = []
    smallest: list[float] = []
    for record in records:
        events += [failure.detail for failure in record.all(MemoryFailure)]
        readings: dict[str, list[Usage]] = {}
        for usage in record.all(Usage):
            readings.setdefault(usage.node, []).append(usage)
        if len(readings.keys() - {HEAD}) < record.opening.nodes:
            problems.append(f"run {record.run}: not every node's memory was read")
        for node, usages in sorted(readings.items()):
            usages.sort(key=lambda u: u.at)
            kills = max(u.oom_kills for u in usages)
            if kills:
                events.append(f"{plural(kills, 'out-of-memory kill')} on {node}")
            stretches = [s for s in _stretches(record, node, usages) if s.enough]
            if not stretches:
                problems.append(
                    f"{node} was not watched for {STRETCH_S:.0f} s and {FEWEST_READINGS} readings "
                    "after its warm-up"
                )
                continue
            longest = max(stretches, key=lambda s: s.span)
            for stretch in stretches:
                if stretch is longest or stretch.span >= CERTAIN_STRETCH_S:
                    _climb(stretch, leaks, problems, growths, slopes, smallest)
            unwatched = longest_gap(
                record, [u.at for u in usages], f"the memory readings of {node}"
            )
            problems += [unwatched] if unwatched else []
    # The bounds are those of the node and stretch that may climb the fastest.
    interval = max(slopes, key=lambda bounds: bounds[1], default=None)
    budget = f"no out-of-memory event is allowed; {len(events)} seen"
    if events or leaks:
        return Verdict(
            status=Status.FAIL,
            measured=f"{plural(len(events), 'out-of-memory event')}, {plural(len(leaks), 'leak')}",
            interval=interval,
            reason=format_list(events + leaks),
            budget=budget,
        )
    if not growths:
        raise InconclusiveError(
            format_list(problems or ["no memory was read"]),
            needs="memory readings with a known limit, over 90 s of every node's life, "
            "about 90 s more",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"0 out-of-memory events; growth at most {max(growths):+.1f} % of the limit",
        interval=interval,
        reason=f"a leak of {max(smallest):.1f} MB/min or more would have been detected",
        budget=f"{budget}; a leak may add {100 * NOTICE_SHARE:g} % of the limit undetected",
    )
    return downgrade(verdict, problems, needs="a longer record of a steady load")


def _stretches(record: Evidence, node: str, usages: Sequence[Usage]) -> list[_Stretch]:
    """Split a node's readings at its kills and starts; drop those while it was down."""
    cuts = sorted(
        (fault.confirmed_at if fault.fault == "start" else fault.requested_at, fault.fault)
        for fault in record.all(Fault)
        if fault.target == node and fault.fault in ("kill", "drain", "start")
    )
    # An idle node is no baseline: its first work would look like a leak.
    work = [w.started_at for w in record.all(Workload) if w.arm == "distributed"]
    first = max([usages[0].at, *([min(work)] if work else [])])
    begins = [first] + [at for at, fault in cuts if fault == "start" and at > first]
    limit = _limit(record, node, usages)
    times = [u.at for u in usages]
    found = []
    for begin in begins:
        end = min((at for at, _ in cuts if at > begin), default=float("inf"))
        kept = usages[bisect_left(times, begin + WARM_UP_S) : bisect_left(times, end)]
        found.append(
            _Stretch(
                node=node,
                times=[u.at for u in kept],
                memory=[float(u.memory_bytes) for u in kept],
                limit=limit,
            )
        )
    return found


def _limit(record: Evidence, node: str, usages: Sequence[Usage]) -> float | None:
    """The smallest limit that was read. The head, when it has none, may use the machine."""
    limits = [u.limit_bytes for u in usages if u.limit_bytes]
    if limits:
        return float(min(limits))
    if node == HEAD:
        for environment in record.all(Environment):
            machine = environment.values.get("memory_bytes")
            if isinstance(machine, int | float) and machine > 0:
                return float(machine)
    return None


def _climb(
    stretch: _Stretch,
    leaks: list[str],
    problems: list[str],
    growths: list[float],
    slopes: list[tuple[float, float]],
    smallest: list[float],
) -> None:
    """Judge one stretch and append its findings to the lists."""
    node, limit, seconds = stretch.node, stretch.limit, stretch.span
    if limit is None:
        problems.append(f"no memory limit of {node} is known")
        return
    slope = statistics.trend(stretch.times, stretch.memory, block=BLOCK_S)
    growth = slope.point * seconds / limit
    words = f"{node} grew by {slope.point * 60 / _MB:.1f} MB/min over {seconds:.0f} s"
    level = sorted(stretch.memory)[len(stretch.memory) // 2]
    lasting = level + slope.lower * HORIZON_S > limit
    if slope.lower > 0 and growth > LEAK_SHARE and lasting and seconds >= CERTAIN_STRETCH_S:
        leaks.append(f"{words}: over {level / _MB:.0f} MB, its limit is reached within 48 h")
    elif slope.lower > 0 and growth >= NOTICE_SHARE:
        problems.append(f"{words}; this may be a leak or a starting load")
    elif slope.upper * seconds / limit > LEAK_SHARE:
        problems.append(
            f"the memory of {node} varies too much to exclude a leak in {seconds:.0f} s"
        )
    growths.append(100 * growth)
    slopes.append((slope.lower * 60 / _MB, slope.upper * 60 / _MB))
    smallest.append(max(slope.upper, NOTICE_SHARE * limit / seconds) * 60 / _MB)


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="memory_stability",
            statement="Nothing runs out of memory and no node leaks",
            target="0 out-of-memory events, no leak",
            unit="MB/min",
            clause=f'{METRICS}: "memory_usage_stability ... No out-of-memory errors"',
            evidence_needed="20 readings over 60 s of every node after its warm-up, "
            "with a known limit",
            passes=(
                "from the first work on the cluster on: no out-of-memory event (the nodes' "
                "control groups, errors of the engine, Ray's evictions by Prometheus), no growth "
                "of 1 % of the limit, and the slope's upper bound (Theil-Sen) is small"
            ),
            fails="an event, or proven growth of 10 % of the limit that reaches it in 48 h",
            verdict=memory_stability,
            trusts=(CLOCK,),
            position=110,
        ),
    ),
    mutants=(
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
