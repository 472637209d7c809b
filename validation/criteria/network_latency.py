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
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    format_list,
    inconclusive,
    plural,
)

LIMIT_S: Final = 0.010


SHARE: Final = 0.99


def network_latency(records: Records) -> Verdict:
    """99 % of round trips between any two nodes take less than 10 ms.

    Bounds are those of order statistics, free of any assumption on the distribution. Every pair
    must be proven quick; one proven slow, with the chance of error shared among all, is enough for
    a FAIL. A round trip that was given up counts as endless.
    """
    pairs, actors, missing = _collect(records)
    needs = f"{samples_for_quantile(SHARE)} or more round trips between every two nodes, each with "
    needs += "a separate network (run as root), about 5 s"
    if not pairs:
        raise InconclusiveError(
            format_list(list(dict.fromkeys(missing)) or ["nothing"]), needs=needs
        )
    careful = 1 - (1 - CONFIDENCE) / len(pairs)
    bounds = {pair: quantile_bounds(taken, SHARE) for pair, taken in pairs.items()}
    worst = max(bounds, key=lambda pair: (bounds[pair].upper, bounds[pair].point))
    everything = [value for taken in pairs.values() for value in taken]
    measured = (
        f"p50 {_ms(_share(everything, 0.5))}, p99 {_ms(_share(everything, SHARE))} "
        f"over {plural(len(everything), 'round trip')}"
    )
    interval = (1000 * bounds[worst].lower, 1000 * bounds[worst].upper)
    over = sum(value >= LIMIT_S for value in everything)
    budget = (
        f"{1 - SHARE:.0%} of round trips may take {_ms(LIMIT_S)} or more; "
        f"{over} of {len(everything):,} did"
    )
    slow = [
        f"{source} to {target}: p99 at least {_ms(lower)}"
        for (run, source, target), taken in pairs.items()
        if (lower := quantile_bounds(taken, SHARE, confidence=careful).lower) >= LIMIT_S
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
        f"{source} to {target}: p99 may be {_ms(found.upper)} "
        f"after {plural(len(pairs[run, source, target]), 'round trip')}"
        for (run, source, target), found in bounds.items()
        if not found.upper < LIMIT_S
    ]
    if doubtful or missing:
        return inconclusive(
            format_list([*doubtful, *dict.fromkeys(missing)]),
            needs=needs,
            measured=measured,
            interval=interval,
            budget=budget,
        )
    reason = f"each of {plural(len(pairs), 'pair')} of nodes; the slowest is {worst[1]} to "
    reason += (
        f"{worst[2]}. Measured by separate programs in the nodes' networks, outside the CPU quota"
    )
    if actors:
        reason += f"; between Ray actors, under the quota, p50 {_ms(_share(actors, 0.5))}, "
        reason += f"p99 {_ms(_share(actors, SHARE))}"
    return Verdict(
        status=Status.PASS, measured=measured, interval=interval, budget=budget, reason=reason
    )


def _collect(
    records: Records,
) -> tuple[dict[tuple[str, str, str], list[float]], list[float], list[str]]:
    """Seconds of the round trips by run, source and target; those between actors of Ray; and what
    was not measured."""
    pairs: dict[tuple[str, str, str], list[float]] = {}
    actors: list[float] = []
    missing: list[str] = []
    for record in records:
        nodes = record.opening.nodes
        seen: set[tuple[str, str]] = set()
        for trips in record.all(RoundTrips):
            taken = [*trips.seconds, *[math.inf] * trips.lost]
            if trips.via == "ray":
                actors += taken
                continue
            what = f"{trips.source} to {trips.target}"
            if not trips.source_network or trips.source_network == trips.target_network:
                missing.append(trips.detail or f"{what}: both are in one network")
            elif not taken:
                missing.append(f"{what}: {trips.detail or 'no round trips'}")
            else:
                seen.add((trips.source, trips.target))
                pairs.setdefault((record.run, trips.source, trips.target), []).extend(taken)
        if record.all(RoundTrips) and len(seen) < nodes * (nodes - 1):
            missing.append(f"run {record.run}: {len(seen)} of {nodes * (nodes - 1)} pairs measured")
    return pairs, actors, missing


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
            "in their own networks",
            passes=(
                "between every two nodes, each in a separate network, the upper 95 % bound "
                "(order statistics) of the 99th percentile of TCP round trips is below 10 ms; a "
                "lost packet counts as an infinite time; round trips between Ray actors, which "
                "wait for the nodes' CPU quota, are reported and not judged"
            ),
            fails="the lower bound of one pair, with its error probability shared among all pairs, "
            "is 10 ms or more",
            verdict=network_latency,
            trusts=(HARNESS_CPU,),
            timed=True,
            position=120,
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
