"""Nodes reach each other quickly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from validation.contract import HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.plan import METRICS
from validation.evidence.records_network import RoundTrips
from validation.mutation import injectors
from validation.statistics import CONFIDENCE, quantile_bounds, samples_for_quantile
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    format_list,
    inconclusive,
    plural,
)

LIMIT: Final = Threshold(
    criterion="network_latency", name="p99", unit="ms", stricter="lower", sensible=100.0
)


SHARE: Final = 0.99


_CALLS: Final = "calls between Ray actors"


def network_latency(records: Records) -> Verdict:
    """99 % of round trips between any two nodes, and of calls between actors, take less than 10 ms.

    Bounds are those of order statistics, free of any assumption on the distribution. Every pair
    must be proven quick, and so must the calls of all pairs together; one proven slow, with the
    chance of error shared among all, is enough for a FAIL. A round trip that was given up counts as
    endless.
    """
    taken, missing = _collect(records)
    needs = f"{samples_for_quantile(SHARE)} or more round trips between every two nodes, each with "
    needs += "a separate network (run as root), and calls between actors on every two, about 25 s"
    trips = [value for (_, what), found in taken.items() if what != _CALLS for value in found]
    calls = [value for (_, what), found in taken.items() if what == _CALLS for value in found]
    if not trips:
        raise InconclusiveError(
            format_list(list(dict.fromkeys(missing)) or ["nothing"]), needs=needs
        )
    careful = 1 - (1 - CONFIDENCE) / len(taken)
    bounds = {key: quantile_bounds(values, SHARE) for key, values in taken.items()}
    worst = max(bounds, key=lambda key: (bounds[key].upper, bounds[key].point))
    measured = f"p99 {_ms(_share(trips, SHARE))} over {plural(len(trips), 'round trip')}"
    if calls:
        measured += f", {_ms(_share(calls, SHARE))} over {plural(len(calls), 'call')}"
    interval = (1000 * bounds[worst].lower, 1000 * bounds[worst].upper)
    over = sum(value >= LIMIT.value for value in (*trips, *calls))
    budget = (
        f"{1 - SHARE:.0%} of round trips and calls may take {_ms(LIMIT.value)} or more; "
        f"{over} of {len(trips) + len(calls):,} did"
    )
    slow = [
        f"{what}: p99 at least {_ms(lower)}"
        for (_, what), values in taken.items()
        if (lower := quantile_bounds(values, SHARE, confidence=careful).lower) >= LIMIT.value
    ]
    if slow:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            budget=budget,
            reason=format_list(slow),
        )
    doubtful = [
        f"{key[1]}: p99 may be {_ms(found.upper)} after {plural(len(taken[key]), 'round trip')}"
        for key, found in bounds.items()
        if not found.upper < LIMIT.value
    ]
    if doubtful or missing:
        return inconclusive(
            format_list([*doubtful, *dict.fromkeys(missing)]),
            needs=needs,
            measured=measured,
            interval=interval,
            budget=budget,
        )
    pairs = sum(what != _CALLS for _, what in taken)
    return Verdict(
        status=Status.PASS,
        measured=measured,
        interval=interval,
        budget=budget,
        reason=f"each of {plural(pairs, 'pair')} of nodes, by separate programs in the nodes' "
        f"networks, p50 {_ms(_share(trips, 0.5))}; calls between Ray actors under the nodes' CPU "
        f"quota, p50 {_ms(_share(calls, 0.5))}; the slowest: {worst[1]}",
    )


def _collect(records: Records) -> tuple[dict[tuple[str, str], list[float]], list[str]]:
    """Seconds by run and either "source to target" or ``_CALLS``; and what was not measured."""
    taken: dict[tuple[str, str], list[float]] = {}
    missing: list[str] = []
    for record in records:
        expected = record.opening.nodes * (record.opening.nodes - 1)
        seen: dict[str, set[str]] = {"tcp": set(), "ray": set()}
        for trips in record.all(RoundTrips):
            values = [*trips.seconds, *[math.inf] * trips.lost]
            what = f"{trips.source} to {trips.target}"
            if trips.via == "ray" and values:
                seen["ray"].add(what)
                taken.setdefault((record.run, _CALLS), []).extend(values)
            elif trips.via == "ray":
                missing.append(f"{what}: no calls between actors")
            elif not trips.source_network or trips.source_network == trips.target_network:
                missing.append(trips.detail or f"{what}: both are in one network")
            elif not values:
                missing.append(f"{what}: {trips.detail or 'no round trips'}")
            else:
                seen["tcp"].add(what)
                taken.setdefault((record.run, what), []).extend(values)
        if not record.all(RoundTrips):
            continue
        for pairs, how in ((seen["tcp"], "pairs"), (seen["ray"], "pairs of actors")):
            if len(pairs) < expected:
                missing.append(f"run {record.run}: {len(pairs)} of {expected} {how} measured")
    return taken, missing


def _share(values: Sequence[float], share: float) -> float:
    """The smallest value that the share of all does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _ms(seconds: float) -> str:
    return "endless" if math.isinf(seconds) else f"{1000 * seconds:.3g} ms"


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="network_latency",
            statement="Nodes reach each other quickly",
            target="< 10 ms at the 99th percentile",
            unit="ms",
            clause=f'{METRICS}: "network_latency_acceptable ... < 10ms inter-worker"',
            evidence_needed="299 or more round trips between every two nodes, "
            "in their own networks, and as many calls between actors",
            passes=(
                "between every two nodes, each in a separate network, the upper 95 % bound "
                "(order statistics) of the 99th percentile of TCP round trips is below 10 ms, and "
                "so is that of calls between Ray actors, of all pairs of nodes together; a lost "
                "packet or call counts as an infinite time"
            ),
            fails="the lower bound of one pair or of the calls, with its error probability shared "
            "among all, is 10 ms or more",
            measures=(
                "seconds of small TCP messages from one program to another and back, and of calls "
                "of an actor that answers at once; calls are at least 20 ms apart, so that they "
                "measure the way and not the nodes' CPU quota"
            ),
            clock="the gate's programs', which run in the nodes' networks; that of the calling "
            "actor for calls",
            limits=(
                "all nodes are on one machine here: the delay of a real network between machines "
                "is not in it; latency while evolutions use the nodes' whole CPU time"
            ),
            verdict=network_latency,
            trusts=(HARNESS_CPU,),
            timed=True,
            position=120,
            thresholds=(LIMIT,),
        ),
    ),
    mutants=(
        Mutant(
            name="a slow link",
            criterion="network_latency",
            stages=("network",),
            injector=injectors.slow_link,
            on_containers=True,
        ),
    ),
)
