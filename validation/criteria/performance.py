"""Is distributed evolution reliable, quick enough, faster than one node, and busy?"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from validation import statistics
from validation.evidence.log import Evidence
from validation.evidence.queries import HEAD, on_the_stack, workload_of, workloads
from validation.evidence.records import CpuWindow, Workload
from validation.evidence.records_ledger import Generation
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    inconclusive,
    listed,
    plural,
    settle,
    still,
)

CYCLE_RATE: Final = 0.95
FEWEST_CYCLES_TO_FAIL: Final = 20
GENERATION_S: Final = 300.0
GENERATION_POPULATION: Final = 500
SPEEDUP: Final = 2.0
CPU_SHARE: Final = 0.70
FEWEST: Final = 3
"""Fewest generations, pairs or workloads from which a mean is judged."""
_EXACT: Final = 1e-9
"""0.05 times 100 is 5 and not less, whatever binary fractions say."""
_ROUNDING: Final = 1.1
"""CPU time is accounted in ticks; more than 10 % beyond the possible is a bad reading."""


def cycle_completion(records: Records) -> Verdict:
    """Share of planned distributed generations that the ledger shows complete, at least 95 %.

    A planned generation that was not committed, or with a failed individual, is a failed cycle,
    whatever became of its workload. PASS: the exact lower bound reaches the target. FAIL: the
    upper bound does not, or the rate misses it over at least 20 cycles.
    """
    planned = complete = 0
    wall_s = 0.0
    short: list[str] = []
    for record in records:
        done = _generations(record)
        for workload in _distributed(record):
            whole = sum(1 for g in done.get(workload.id, {}).values() if g.failed == 0)
            planned += workload.generations
            wall_s += _wall(workload)
            complete += whole
            if whole < workload.generations:
                short.append(f"{workload.id} completed {whole} of {workload.generations}")
    if not planned:
        raise InconclusiveError("no distributed workload was recorded", needs="59 cycles")
    rate = statistics.proportion(complete, planned)
    measured = f"{100 * rate.point:.1f} % ({complete} of {planned})"
    interval = (100 * rate.lower, 100 * rate.upper)
    budget = (
        f"{100 * CYCLE_RATE:g} % allows {int((1 - CYCLE_RATE) * planned + _EXACT)} failed of "
        f"{planned}; {planned - complete} failed"
    )
    missed = rate.upper < CYCLE_RATE or (
        rate.point < CYCLE_RATE and planned >= FEWEST_CYCLES_TO_FAIL
    )
    if missed:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=listed(short),
            budget=budget,
        )
    shown = f"{complete} of {planned} cycles show at least {100 * rate.lower:.1f} %"
    if rate.lower >= CYCLE_RATE:
        return Verdict(
            status=Status.PASS, measured=measured, interval=interval, reason=shown, budget=budget
        )
    more = statistics.more_successes(complete, planned, CYCLE_RATE)
    return inconclusive(
        "; ".join([shown, *short[:3]]),
        needs=f"{still(more, 'cycle', each_s=wall_s / planned)}, without a failure",
        measured=measured,
        interval=interval,
        budget=budget,
    )


def generation_time(records: Records) -> Verdict:
    """Mean time of distributed generations of 500 or more individuals, below 300 s.

    The upper t bound of the mean decides. A planned generation that was never committed may be
    the slow one, so it rules out a PASS.
    """
    seconds: list[float] = []
    problems: list[str] = []
    for record in records:
        done = _generations(record)
        for workload in _distributed(record):
            large = [
                g.seconds
                for g in done.get(workload.id, {}).values()
                if g.individuals >= GENERATION_POPULATION
            ]
            seconds += large
            planned = workload.generations
            if workload.population_size >= GENERATION_POPULATION and len(large) < planned:
                problems.append(f"{workload.id} has times for {len(large)} of {planned}")
    if len(seconds) < FEWEST:
        raise InconclusiveError(
            f"{plural(len(seconds), 'distributed generation')} of at least "
            f"{GENERATION_POPULATION} individuals",
            needs=plural(FEWEST - len(seconds), "more of them", "more of them"),
        )
    time = statistics.mean(seconds)
    measured = f"{time.point:.1f} s over {len(seconds)} generations"
    interval = (time.lower, time.upper)
    budget = (
        f"{GENERATION_S:.0f} s allows generations {GENERATION_S / time.point:.3g} times as long"
        if time.point > 0
        else f"{GENERATION_S:.0f} s a generation are allowed; no time was measured"
    )
    if time.point >= GENERATION_S:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=f"the mean is not below {GENERATION_S:.0f} s; slowest {max(seconds):.1f} s",
            budget=budget,
        )
    if time.upper >= GENERATION_S:
        return inconclusive(
            f"the mean may be as high as {time.upper:.1f} s",
            needs=still(
                statistics.more_values(seconds, GENERATION_S, above=False),
                "generation",
                each_s=time.point,
            ),
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"mean at most {time.upper:.1f} s; slowest {max(seconds):.1f} s",
        budget=budget,
    )
    return settle(verdict, problems, needs="every planned generation, committed")


def speedup(records: Records) -> Verdict:
    """Time of one node over time of the cluster for the same work, at least 2.

    Geometric mean of paired ratios with t bounds on their logarithms. The arms must be interleaved
    in time, so that a machine that changes speed cannot favour one of them.
    """
    ratios: list[float] = []
    wall_s = 0.0
    problems: list[str] = []
    sizes: set[int] = set()
    for record in records:
        pairs: dict[int, list[Workload]] = {}
        for workload in workloads(record).values():
            if workload.purpose != "speedup":
                continue
            if workload.pair is None:
                problems.append(f"{workload.id} belongs to no pair")
            else:
                pairs.setdefault(workload.pair, []).append(workload)
        for number, members in sorted(pairs.items()):
            flaw = _flaw(members)
            if flaw:
                problems.append(f"pair {number} of run {record.run}: {flaw}")
                continue
            local, distributed = sorted(members, key=lambda w: w.arm == "distributed")
            ratios.append(local.seconds / distributed.seconds)
            sizes.add(distributed.nodes)
            wall_s += _wall(local) + _wall(distributed)
        problems += _disorder(record, pairs)
    if len(sizes) > 1:
        problems.append(f"pairs of different sizes: {sorted(sizes)} nodes")
    if len(ratios) < FEWEST:
        raise InconclusiveError(
            listed([plural(len(ratios), "usable pair"), *problems]),
            needs=still(FEWEST - len(ratios), "pair", each_s=wall_s / len(ratios))
            if ratios
            else plural(FEWEST, "more pair"),
        )
    gain = statistics.geometric_mean(ratios)
    measured = f"{gain.point:.2f}× over {len(ratios)} pairs"
    interval = (gain.lower, gain.upper)
    budget = (
        f"{SPEEDUP:g}× allows the cluster {100 / SPEEDUP:.0f} % of one node's time; "
        f"it took {100 / gain.point:.0f} %"
    )
    spread = f"pairs from {min(ratios):.2f}× to {max(ratios):.2f}×"
    if gain.upper < SPEEDUP or gain.point < SPEEDUP:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=f"below {SPEEDUP:g}×; {spread}",
            budget=budget,
        )
    if gain.lower < SPEEDUP:
        return inconclusive(
            f"only {gain.lower:.2f}× is shown; {spread}",
            needs=still(
                statistics.more_values(
                    [math.log(ratio) for ratio in ratios], math.log(SPEEDUP), above=True
                ),
                "pair",
                each_s=wall_s / len(ratios),
            ),
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        reason=f"at least {gain.lower:.2f}×; {spread}",
        budget=budget,
    )
    return settle(verdict, problems, needs="pairs of equal work, both arms finished, interleaved")


def cpu_efficiency(records: Records) -> Verdict:
    """CPU time that nodes used of what they were allotted while evaluating, above 70 %.

    One value a distributed speed-up workload, summed over all its nodes; a node
    without a reading cannot be left out, for it may be the idle one.
    """
    shares: list[float] = []
    useful: list[float] = []
    wall_s = 0.0
    problems: list[str] = []
    for record in records:
        known = workloads(record)
        windows: dict[str, list[CpuWindow]] = {}
        for window in record.all(CpuWindow):
            workload_of(known, window.workload, said_by="CPU readings")
            if window.node != HEAD:
                windows.setdefault(window.workload, []).append(window)
        for workload in known.values():
            if workload.arm != "distributed" or workload.purpose != "speedup":
                continue
            if workload.exit_code != 0:
                problems.append(f"{workload.id} did not finish")
                continue
            read = windows.get(workload.id, [])
            nodes = len({window.node for window in read})
            used, allotted = (
                math.fsum(w.used_s for w in read),
                math.fsum(w.allotted_s for w in read),
            )
            if nodes != workload.nodes:
                problems.append(f"{workload.id}: readings of {nodes} of {workload.nodes} nodes")
            elif bad := impossible(read):
                problems.append(f"{workload.id}: {bad}")
            else:
                shares.append(used / allotted)
                wall_s += _wall(workload)
                useful.append(math.fsum(w.useful_s for w in read) / allotted)
    if len(shares) < FEWEST:
        raise InconclusiveError(
            listed([f"CPU readings of {plural(len(shares), 'workload')}", *problems]),
            needs=plural(FEWEST - len(shares), "more distributed workload"),
        )
    share = statistics.mean(shares)
    measured = f"{100 * share.point:.1f} % over {len(shares)} workloads"
    interval = (100 * share.lower, 100 * share.upper)
    budget = (
        f"{100 * CPU_SHARE:.0f} % allows nodes to idle {100 * (1 - CPU_SHARE):.0f} % of the time; "
        f"they idled {100 * (1 - share.point):.1f} %"
    )
    reason = f"{100 * math.fsum(useful) / len(useful):.1f} % inside evaluations"
    if share.point <= CPU_SHARE or share.upper < CPU_SHARE:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=f"not above {100 * CPU_SHARE:.0f} %; {reason}",
            budget=budget,
        )
    if share.lower <= CPU_SHARE:
        return inconclusive(
            f"only {100 * share.lower:.1f} % is shown; {reason}",
            needs=still(
                statistics.more_values(shares, CPU_SHARE, above=True),
                "distributed workload",
                each_s=wall_s / len(shares),
            ),
            measured=measured,
            interval=interval,
            budget=budget,
        )
    verdict = Verdict(
        status=Status.PASS, measured=measured, interval=interval, reason=reason, budget=budget
    )
    return settle(verdict, problems, needs="possible readings of every node of every workload")


def _wall(workload: Workload) -> float:
    return workload.finished_at - workload.started_at


def _distributed(record: Evidence) -> list[Workload]:
    """Those that the cluster was there for to the end."""
    return [w for w in workloads(record).values() if on_the_stack(w)]


def _generations(record: Evidence) -> dict[str, dict[int, Generation]]:
    """Committed generations by workload and number."""
    known = workloads(record)
    found: dict[str, dict[int, Generation]] = {}
    for generation in record.all(Generation):
        name = generation.workload
        workload = workload_of(known, name, said_by="a generation")
        of = found.setdefault(name, {})
        if generation.generation in of:
            raise InconclusiveError(f"{name} has generation {generation.generation} twice")
        of[generation.generation] = generation
        if len(of) > workload.generations:
            raise InconclusiveError(f"{name} has more generations than were planned")
    return found


def _flaw(pair: list[Workload]) -> str:
    """Why two workloads cannot be compared; empty when they can."""
    if sorted(workload.arm for workload in pair) != ["distributed", "local"]:
        return "needs one local and one distributed workload"
    failed = [workload.id for workload in pair if workload.exit_code != 0]
    if failed:
        return f"{' and '.join(failed)} did not finish"
    if any(workload.seconds <= 0 for workload in pair):
        return "took no time"
    a, b = pair
    for name in ("seed", "market", "population_size", "generations", "digest"):
        if getattr(a, name) != getattr(b, name):
            return f"the arms differ in {name}"
    return ""


def _disorder(record: Evidence, pairs: dict[int, list[Workload]]) -> list[str]:
    """Whether the arms took turns, one at a time. Random order within a pair is fine."""
    order = sorted((w for pair in pairs.values() for w in pair), key=lambda w: w.started_at)
    neighbours = list(pairwise(order))
    turns = sum(1 for a, b in neighbours if a.arm != b.arm)
    problems = []
    if turns < len(pairs):
        problems.append(f"run {record.run}: the arms were not interleaved in time")
    problems += [
        f"{a.id} and {b.id} ran at the same time"
        for a, b in neighbours
        if b.started_at < a.finished_at
    ]
    return problems


def impossible(windows: list[CpuWindow]) -> str:
    """Why readings of CPU time cannot be true; empty when they can."""
    for window in windows:
        if window.allotted_s <= 0:
            return f"{window.node} was allotted nothing"
        if window.used_s > _ROUNDING * window.allotted_s:
            return (
                f"bad reading: {window.node} used {window.used_s:.1f} s "
                f"of {window.allotted_s:.1f} s allotted"
            )
        if window.useful_s > _ROUNDING * window.used_s:
            return f"bad reading: {window.node} evaluated for longer than it used CPU"
    return ""
