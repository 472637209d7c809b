"""The cluster evolves faster than one node of the same size."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from validation import statistics
from validation.contract import CLOCK, HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import FEWEST, wall
from validation.criteria.plan import GO
from validation.evidence.log import Evidence
from validation.evidence.queries import workloads
from validation.evidence.records import Workload
from validation.mutation.patches import EVALUATES, ON_CLUSTER, WORKER, patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    format_shortfall,
    inconclusive,
    plural,
)

SPEEDUP: Final = 2.0


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
            wall_s += wall(local) + wall(distributed)
        problems += _disorder(record, pairs)
    if len(sizes) > 1:
        problems.append(f"pairs of different sizes: {sorted(sizes)} nodes")
    if len(ratios) < FEWEST:
        raise InconclusiveError(
            format_list([plural(len(ratios), "usable pair"), *problems]),
            needs=format_shortfall(FEWEST - len(ratios), "pair", each_s=wall_s / len(ratios))
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
            needs=format_shortfall(
                statistics.values_needed(
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
    return downgrade(
        verdict, problems, needs="pairs of equal work, both arms finished, interleaved"
    )


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


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="speedup",
            statement="The cluster evolves faster than one node of the same size",
            target="≥ 2.0×",
            unit="×",
            clause=f'{GO}: "Genetic algorithm shows 2x+ performance improvement"',
            evidence_needed="3 or more pairs of equal work, local and distributed, "
            "interleaved in time",
            passes=(
                "the lower 95 % t bound of the paired log-ratios local / distributed is at least 2"
            ),
            fails="the upper bound, or the mean of three or more pairs, is below 2",
            verdict=speedup,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=60,
        ),
    ),
    mutants=(
        Mutant(
            # All work on the cluster is done twice: about 1.5 times as fast as one node then.
            name="a cluster half as fast as it was",
            criterion="speedup",
            stages=("speedup",),
            patches=patch(
                WORKER,
                EVALUATES,
                f"        {ON_CLUSTER}:\n"
                f"            evaluate_batch(market, settings, genomes)\n{EVALUATES}",
            ),
        ),
    ),
)
