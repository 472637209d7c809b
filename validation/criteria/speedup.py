"""The cluster evolves faster than one node of the same size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from validation import statistics
from validation.contract import CLOCK, HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import FEWEST, generations, wall
from validation.criteria.plan import GO
from validation.evidence.log import Evidence
from validation.evidence.queries import workloads
from validation.evidence.records import Workload
from validation.evidence.records_ledger import Generation
from validation.limits import LOOKS
from validation.mutation.patches import EVALUATES, ON_CLUSTER, WORKER, patch
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    format_shortfall,
    plural,
)

SPEEDUP: Final = Threshold(
    criterion="speedup", name="factor", unit="×", stricter="higher", sensible=1.0
)
CONFIDENCE: Final = 1 - 0.05 / LOOKS
"""Of each bound: the error of both looks together is at most 5 % (Bonferroni)."""


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """The same evolution on one node and on the cluster."""

    local: Workload
    distributed: Workload

    @property
    def ratio(self) -> float:
        return wall(self.local) / wall(self.distributed)


def decided(ratios: Sequence[float]) -> bool:
    """Whether the bounds of these ratios lie on one side of the target."""
    if len(ratios) < FEWEST:
        return False
    gain = statistics.geometric_mean(ratios, confidence=CONFIDENCE)
    return gain.lower >= SPEEDUP.value or gain.upper < SPEEDUP.value


def speedup(records: Records) -> Verdict:
    """Wall time of one node over wall time of the cluster for the same work, at least 2.

    Geometric mean of paired ratios with t bounds on their logarithms. The arms must be interleaved
    in time, so that a machine that changes speed cannot favour one of them.
    """
    pairs: list[_Pair] = []
    problems: list[str] = []
    for record in records:
        usable, flaws = _pairs(record)
        pairs += usable
        problems += flaws
    sizes = {pair.distributed.nodes for pair in pairs}
    if len(sizes) > 1:
        problems.append(f"pairs of different sizes: {sorted(sizes)} nodes")
    each_s = (
        statistics.mean([wall(p.local) + wall(p.distributed) for p in pairs]).point if pairs else 0
    )
    if len(pairs) < FEWEST:
        raise InconclusiveError(
            format_list([plural(len(pairs), "usable pair"), *problems]),
            needs=format_shortfall(FEWEST - len(pairs), "pair", each_s=each_s)
            if pairs
            else plural(FEWEST, "more pair"),
        )
    ratios = [pair.ratio for pair in pairs]
    gain = statistics.geometric_mean(ratios, confidence=CONFIDENCE)
    status = Status.INCONCLUSIVE
    reason, needs = f"only {gain.lower:.2f}× is shown", ""
    if gain.upper < SPEEDUP.value:
        status, reason = Status.FAIL, f"at most {gain.upper:.2f}×"
    elif gain.lower >= SPEEDUP.value:
        status, reason = Status.PASS, f"at least {gain.lower:.2f}×"
    else:
        missing = statistics.values_needed(
            [math.log(ratio) for ratio in ratios],
            math.log(SPEEDUP.value),
            above=gain.point >= SPEEDUP.value,
            confidence=CONFIDENCE,
        )
        needs = format_shortfall(missing, "pair", each_s=each_s)
    verdict = Verdict(
        status=status,
        measured=f"{gain.point:.2f}× over {len(pairs)} pairs",
        interval=(gain.lower, gain.upper),
        reason="; ".join([reason, *_details(records, pairs)]),
        needs=needs,
        budget=(
            f"{SPEEDUP.value:g}× allows the cluster {100 / SPEEDUP.value:.0f} % of one "
            f"node's time; it took {100 / gain.point:.0f} %"
        ),
    )
    return downgrade(
        verdict, problems, needs="pairs of equal work, both arms finished, interleaved"
    )


def _shape(work: Workload) -> str:
    return f"{work.population_size} individuals × {work.generations} generations on {work.market}"


def _details(records: Records, pairs: Sequence[_Pair]) -> list[str]:
    """What the bounds are made of: seconds, start-up, the engine's own figure, this machine."""
    local = statistics.mean([wall(pair.local) for pair in pairs]).point
    distributed = statistics.mean([wall(pair.distributed) for pair in pairs]).point
    ratios = [pair.ratio for pair in pairs]
    around = statistics.mean(
        [1 - min(1.0, p.distributed.seconds / wall(p.distributed)) for p in pairs]
    ).point
    found = [
        f"one node {local:.1f} s, the cluster {distributed:.1f} s, of which start and end take "
        f"{100 * around:.0f} %",
        f"pairs from {min(ratios):.2f}× to {max(ratios):.2f}×",
        "workload: " + format_list(sorted({_shape(pair.distributed) for pair in pairs})),
    ]
    if all(min(pair.local.seconds, pair.distributed.seconds) > 0 for pair in pairs):
        own = statistics.geometric_mean([p.local.seconds / p.distributed.seconds for p in pairs])
        found.append(f"without start and end, by the engine's clock, {own.point:.2f}×")
    machines = [
        work
        for record in records
        for work in workloads(record).values()
        if work.purpose == "machine" and work.exit_code == 0 and wall(work) > 0
    ]
    if machines:
        whole = statistics.mean([wall(work) for work in machines]).point
        workers = plural(machines[0].workers, "local process", "local processes")
        found.append(
            f"this machine without a quota, {workers}, {whole:.1f} s: the cluster is "
            f"{whole / distributed:.2f}× as fast"
        )
    return found


def _pairs(record: Evidence) -> tuple[list[_Pair], list[str]]:
    """The usable pairs of a run, and what is wrong with the others."""
    members: dict[int, list[Workload]] = {}
    problems: list[str] = []
    for workload in workloads(record).values():
        if workload.purpose != "speedup":
            continue
        if workload.pair is None:
            problems.append(f"{workload.id} belongs to no pair")
        else:
            members.setdefault(workload.pair, []).append(workload)
    committed = generations(record)
    found = []
    for number, pair in sorted(members.items()):
        flaw = _flaw(pair, committed)
        if flaw:
            problems.append(f"pair {number} of run {record.run}: {flaw}")
            continue
        local, distributed = sorted(pair, key=lambda w: w.arm == "distributed")
        found.append(_Pair(local=local, distributed=distributed))
    return found, [*problems, *_disorder(record, members)]


def _flaw(pair: list[Workload], committed: Mapping[str, Mapping[int, Generation]]) -> str:
    """Why two workloads cannot be compared; empty when they can."""
    if sorted(workload.arm for workload in pair) != ["distributed", "local"]:
        return "needs one local and one distributed workload"
    failed = [workload.id for workload in pair if workload.exit_code != 0]
    if failed:
        return f"{' and '.join(failed)} did not finish"
    if any(wall(workload) <= 0 for workload in pair):
        return "took no time"
    for workload in pair:
        if len(done := committed.get(workload.id, {})) != workload.generations:
            return f"{workload.id} committed {len(done)} of {workload.generations} generations"
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


_TWICE: Final = patch(
    WORKER,
    EVALUATES,
    f"        {ON_CLUSTER}:\n            evaluate_batch(market, settings, genomes)\n{EVALUATES}",
)

PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="speedup",
            statement="The cluster evolves faster than one of its nodes alone, start-up included",
            target="≥ 2.0×",
            unit="×",
            clause=f'{GO}: "Genetic algorithm shows 2x+ performance improvement"',
            measures=(
                "wall time of the same evolution, from the start of its process to its end, all "
                "generations committed, on one node with a node's CPU quota and on the cluster; "
                "500 individuals of pca_tree_quantile on hourly EUR/USD, for some generations, or "
                "the workload that the user chose; "
                "next to it, the same on all cores of this machine without a quota"
            ),
            clock="the gate's wall clock; the engine's own figure is shown and not judged",
            limits=(
                "a gain for cheap evaluations: rule families take tens of microseconds, and one "
                "node ends before work could be sent; a gain over this whole machine, whose cores "
                "the nodes share"
            ),
            evidence_needed="3 or more pairs of equal work, local and distributed, "
            "interleaved in time",
            passes=(
                "the lower 97.5 % t bound of the paired log-ratios local / distributed is at least "
                "2, after 3 pairs or, if these leave it open, after 6 (both looks together: 95 %)"
            ),
            fails="the upper 97.5 % t bound is below 2",
            verdict=speedup,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=60,
            thresholds=(SPEEDUP,),
        ),
    ),
    mutants=(
        Mutant(
            # All work on the cluster is done twice: about 1.3 times as fast as one node then.
            name="a cluster half as fast as it was",
            criterion="speedup",
            stages=("speedup",),
            patches=_TWICE,
        ),
        Mutant(
            # The clock of the engine says then that the cluster is faster than before.
            name="a cluster half as fast, with an engine that reports a quarter of its seconds",
            criterion="speedup",
            stages=("speedup",),
            patches=(
                *_TWICE,
                *patch(
                    "ga/runner.py",
                    "            seconds=time.perf_counter() - self._started,",
                    "            seconds=(time.perf_counter() - self._started)"
                    ' / (4 if self._evaluator.mode == "distributed" else 1),',
                ),
            ),
        ),
    ),
)
