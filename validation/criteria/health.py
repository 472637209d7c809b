"""Do the services answer, is everything watched, and does memory stay where it is?"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from validation import statistics
from validation.criteria.availability import UNSEEN_OUTAGE_S
from validation.evidence.log import Evidence
from validation.evidence.outages import Watching
from validation.evidence.queries import ATTACHED, HEAD, excused, gap
from validation.evidence.records import (
    Environment,
    Fault,
    MemoryFailure,
    Services,
    Usage,
    Workload,
)
from validation.evidence.records_monitoring import Probe, Scrape
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    listed,
    plural,
    settle,
    span,
)

FEWEST_PROBES: Final = 10
PROBE_SPAN_S: Final = 30.0
FRESH_S: Final = 15.0
FEWEST_READINGS: Final = 20
STRETCH_S: Final = 60.0
"""A node must be watched for so long, after its warm-up, to be judged at all."""
WARM_UP_S: Final = 30.0
"""After its start a node loads libraries and fills pools: that growth is no leak."""
CERTAIN_STRETCH_S: Final = 180.0
"""In less time a load that begins cannot be told from a leak, so nothing fails on it."""
LEAK_SHARE: Final = 0.10
"""Growth within the record, as a share of the limit, that fails a node."""
NOTICE_SHARE: Final = 0.01
"""Proven growth of this share of the limit keeps a node from passing."""
HORIZON_S: Final = 48 * 3600.0
BLOCK_S: Final = 10.0
_MB: Final = 1e6


def dashboard(records: Records) -> Verdict:
    """Every request to the dashboard is answered: no failure outside an announced outage.

    Needs 10 requests over 30 s, and none of the work unwatched for longer than a minute. An
    announced outage is one with a confirmed receipt; else the excuse does not count.
    """
    count = 0
    seconds = 0.0
    lengths: list[float] = []
    latencies: list[float] = []
    failures: list[str] = []
    problems: list[str] = []
    for record in records:
        times: list[float] = []
        seen = Watching()
        for event in record.of(Probe.KIND):
            probe = event.record
            if not isinstance(probe, Probe) or probe.probe != "dashboard":
                continue
            times.append(event.at)
            if probe.excused:
                if not probe.ok and not excused(record, ("dashboard", HEAD), event.at):
                    problems.append("a failed request was excused by an outage without a receipt")
                seen.pause()
                continue
            seen.probe(event.at, ok=probe.ok)
            count += 1
            latencies.append(probe.latency_s)
            if not probe.ok:
                failures.append(probe.detail or "no answer")
        seen.pause()
        seconds += seen.watched_s
        lengths += [max(outage.seconds, 1.0) for outage in seen.outages]
        if times:
            unwatched = gap(record, times, "the dashboard's probe")
            problems += [unwatched] if unwatched else []
    budget = (
        f"every request must be answered; {plural(len(lengths), 'outage')}, "
        f"{span(math.fsum(lengths))} in {span(seconds)}"
    )
    if failures:
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(failures)} of {count} requests failed",
            interval=_percent(lengths, seconds),
            reason=listed(failures),
            budget=budget,
        )
    if count < FEWEST_PROBES or seconds < PROBE_SPAN_S:
        more = max(PROBE_SPAN_S - seconds, FEWEST_PROBES - count)
        raise InconclusiveError(
            listed([f"{plural(count, 'request')} over {seconds:.0f} s", *problems]),
            needs=f"at least {FEWEST_PROBES} requests over {PROBE_SPAN_S:.0f} s, "
            f"about {span(more)} more",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{count} of {count} requests answered",
        interval=_percent(lengths, seconds),
        reason=f"over {seconds:.0f} s; slowest {max(latencies):.2f} s",
        budget=budget,
    )
    return settle(verdict, problems, needs="requests all through the work")


def _percent(lengths: Sequence[float], seconds: float) -> tuple[float, float]:
    """Bounds of the availability, in %, from outages: requests are correlated."""
    if math.fsum(lengths) >= seconds:
        return 0.0, 100.0
    share = statistics.availability(lengths, seconds, unseen_s=UNSEEN_OUTAGE_S).share
    return 100 * share.lower, 100 * share.upper


def prometheus_collection(records: Records) -> Verdict:
    """Prometheus finds every target up, with a sample no older than 15 s, at every reading.

    Expected are the head, every node with a usage reading, and as many nodes as the run began
    with; each with 10 readings at times when it was not down by a receipt.
    """
    misses: list[str] = []
    problems: list[str] = []
    count = 0
    oldest = 0.0
    watched_s = 0.0
    targets: set[str] = set()
    for record in records:
        good: dict[str, int] = {}
        times: dict[str, list[float]] = {}
        for event in record.of(Scrape.KIND):
            scrape = event.record
            if not isinstance(scrape, Scrape):
                continue
            times.setdefault(scrape.target, []).append(event.at)
            if scrape.excused:
                # A good reading needs no excuse: one taken just before the fault is often marked.
                if not _good(scrape) and not excused(record, (scrape.target,), event.at):
                    problems.append(f"{scrape.target} was excused without a receipt")
                continue
            if not _good(scrape) and excused(record, ("prometheus",), event.at):
                # Nobody was there to be asked, by receipt.
                continue
            good[scrape.target] = good.get(scrape.target, 0) + 1
            count += 1
            if not scrape.up:
                misses.append(f"{scrape.target} was down")
            elif scrape.age_s is None or not math.isfinite(scrape.age_s):
                problems.append(f"{scrape.target} was up without a sample")
            elif scrape.age_s > FRESH_S:
                misses.append(f"{scrape.target}'s newest sample was {scrape.age_s:.0f} s old")
            else:
                oldest = max(oldest, scrape.age_s)
        nodes = {usage.node for usage in record.all(Usage)} - {HEAD}
        if record.opening.backend == ATTACHED:
            # It is not read from outside.
            watched = {name for one in record.all(Services) for name in one.incarnations}
            nodes = (watched & times.keys()) - {HEAD}
        expected = nodes | {HEAD}
        if len(nodes) < record.opening.nodes:
            problems.append(
                f"run {record.run}: {len(nodes)} of {record.opening.nodes} nodes are known"
            )
        problems += [
            f"{target}: {plural(good.get(target, 0), 'reading')}"
            for target in sorted(expected)
            if good.get(target, 0) < FEWEST_PROBES
        ]
        for target in sorted(expected & times.keys()):
            unwatched = gap(record, times[target], f"the readings of {target}")
            problems += [unwatched] if unwatched else []
        targets |= expected
        watched_s += min(
            (max(times[t]) - min(times[t]) for t in expected & times.keys()), default=0.0
        )
    budget = f"no target may be missed, nor a sample be older than {FRESH_S:.0f} s; " + (
        f"{len(misses)} bad" if misses else f"the oldest was {oldest:.1f} s"
    )
    if misses:
        bad = statistics.proportion(len(misses), count)
        return Verdict(
            status=Status.FAIL,
            measured=f"{len(misses)} of {count} readings bad",
            interval=(100 * bad.lower, 100 * bad.upper),
            reason=listed(sorted(set(misses))),
            budget=budget,
        )
    needs = f"{FEWEST_PROBES} fresh readings of the head and of every node, all through the work"
    if not count:
        raise InconclusiveError("nobody asked Prometheus for its targets", needs=needs)
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{len(targets)} targets up in {count} readings",
        interval=(0.0, 100 * statistics.zero_count_upper(max(int(watched_s / FRESH_S), 1))),
        reason=f"oldest sample {oldest:.1f} s",
        budget=budget,
    )
    return settle(verdict, sorted(set(problems)), needs=needs)


def _good(scrape: Scrape) -> bool:
    return scrape.up and scrape.age_s is not None and scrape.age_s <= FRESH_S


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
    """No out-of-memory event, and no node whose memory climbs.

    Each node's readings are cut at its kills and starts, and 30 s of warm-up are left out. In its
    longest stretch (60 s and 20 readings at least) the slope is estimated after Theil and Sen:

    - FAIL: within 3 minutes or more it grew by over 10 % of the limit, and even the lower bound of
      the slope crosses the limit within 48 hours.
    - PASS: even the upper bound of the slope adds less than 10 % of the limit within the stretch,
      and no growth of 1 % of the limit or more is proven.
    - else INCONCLUSIVE: it rises, or it was not watched well enough.

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
            unwatched = gap(record, [u.at for u in usages], f"the memory readings of {node}")
            problems += [unwatched] if unwatched else []
    # The bounds are those of the node and stretch that may climb the fastest.
    interval = max(slopes, key=lambda bounds: bounds[1], default=None)
    budget = f"no out-of-memory event is allowed; {len(events)} seen"
    if events or leaks:
        return Verdict(
            status=Status.FAIL,
            measured=f"{plural(len(events), 'out-of-memory event')}, {plural(len(leaks), 'leak')}",
            interval=interval,
            reason=listed(events + leaks),
            budget=budget,
        )
    if not growths:
        raise InconclusiveError(
            listed(problems or ["no memory was read"]),
            needs="memory readings with a known limit, over 90 s of every node's life, "
            "about 90 s more",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"0 out-of-memory events; growth at most {max(growths):+.1f} % of the limit",
        interval=interval,
        reason=f"a leak of {max(smallest):.1f} MB/min or more would have been seen",
        budget=f"{budget}; a leak may add {100 * NOTICE_SHARE:g} % of the limit unseen",
    )
    return settle(verdict, problems, needs="a longer record of a steady load")


def _stretches(record: Evidence, node: str, usages: Sequence[Usage]) -> list[_Stretch]:
    """Cut a node's readings at its kills and starts; what was read while it was down goes."""
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
    """Judge one stretch, adding to the lists what it shows."""
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
        problems.append(f"{words}; a leak, or a load that began?")
    elif slope.upper * seconds / limit > LEAK_SHARE:
        problems.append(f"the memory of {node} moves too much to exclude a leak in {seconds:.0f} s")
    growths.append(100 * growth)
    slopes.append((slope.lower * 60 / _MB, slope.upper * 60 / _MB))
    smallest.append(max(slope.upper, NOTICE_SHARE * limit / seconds) * 60 / _MB)
