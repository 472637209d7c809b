"""Large populations are evolved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from validation.contract import CLOCK, HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import failed
from validation.criteria.rollback import unlike
from validation.evidence.queries import HEAD, workloads
from validation.evidence.records import Usage, Workload
from validation.evidence.records_ledger import Generation
from validation.mutation import injectors
from validation.mutation.patches import patch
from validation.thresholds import Threshold
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    plural,
    span,
)

GENERATION_S: Final = 300.0


LEAST_POPULATION: Final = Threshold(
    criterion="population_load",
    name="individuals",
    unit="individuals",
    stricter="higher",
    sensible=100.0,
)


def population_load(records: Records) -> Verdict:
    """Populations of 500 or more individuals are evolved completely, each generation within 300 s,
    and no node comes near its memory limit.
    """
    wrong: list[str] = []
    problems: list[str] = []
    said: dict[int, str] = {}
    for record in records:
        usage = record.all(Usage)
        seconds: dict[str, dict[int, float]] = {}
        for generation in record.all(Generation):
            seconds.setdefault(generation.workload, {})[generation.generation] = generation.seconds
        for workload in workloads(record).values():
            if workload.purpose != "population":
                continue
            found = unlike(record, workload)
            timed = seconds.get(workload.id, {})
            slowest = max(timed.values(), default=0.0)
            if not found and slowest > GENERATION_S:
                found = [f"a generation took {span(slowest)}"]
            wrong += [f"{workload.id}: {what}" for what in found]
            if len(timed) < workload.generations:
                planned = plural(workload.generations, "generation")
                problems.append(f"{workload.id}: {len(timed)} of {planned} timed")
                continue
            peak, unlimited = _peak(usage, workload)
            if unlimited:
                problems.append(
                    f"{workload.id}: no memory limit of {', '.join(unlimited)} is in force"
                )
            if peak is None:
                problems.append(f"{workload.id}: the nodes' memory was not read")
                continue
            said[workload.population_size] = (
                f"{workload.population_size:,}: {span(slowest)} a generation, "
                f"{100 * peak:.0f} % of a node's memory"
            )
    if wrong:
        return failed(wrong)
    largest = max(said, default=0)
    if largest < LEAST_POPULATION.value or len(said) < 2:
        raise InconclusiveError(
            format_list(problems or [f"{plural(len(said), 'population')} tried"]),
            needs=f"runs of two populations of {LEAST_POPULATION.value:.0f} or more, about 30 s",
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"{largest:,} individuals",
        reason="; ".join(said[size] for size in sorted(said)),
    )
    return downgrade(verdict, problems, needs="readings of every node's memory while they ran")


def _peak(usage: Sequence[Usage], workload: Workload) -> tuple[float | None, list[str]]:
    """The largest share of its limit that a node used, None if it was not measured; and the nodes
    for which the kernel stated no limit.
    """
    own = [
        one
        for one in usage
        if one.node != HEAD and workload.started_at <= one.at <= workload.finished_at
    ]
    shares = [one.memory_bytes / one.limit_bytes for one in own if one.limit_bytes]
    return max(shares, default=None), sorted({one.node for one in own if not one.limit_bytes})


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="population_load",
            statement="Large populations are evolved",
            target="≥ 500 individuals",
            unit="individuals",
            clause='Day 7, step 11: "Test with larger population sizes (500+)"',
            evidence_needed="populations of growing size from 500, with time, memory and an audit "
            "of each",
            passes=(
                "populations of 500, 2,000 and 10,000 individuals evolve completely, and no "
                "generation takes 300 s; the kernel states a memory limit for every node meanwhile"
            ),
            fails="a population did not, or a generation took longer",
            measures=(
                "seconds of every generation of populations of 500, 2,000 and 10,000 "
                "individuals, the largest share of its memory limit that a node used, and an "
                "audit of each history"
            ),
            clock=(
                "the ledger's times of commit, compared with the gate's times of start and end; "
                "the kernel's account of memory"
            ),
            limits=(
                "populations above 10,000, and the memory of the coordinator, which "
                "`memory_stability` judges"
            ),
            verdict=population_load,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=210,
            thresholds=(LEAST_POPULATION,),
        ),
    ),
    mutants=(
        Mutant(
            name="a memory limit that is not in force",
            criterion="population_load",
            stages=("population",),
            injector=injectors.limit_lifted,
            expects="INCONCLUSIVE",
        ),
        Mutant(
            name="individuals beyond 1,500 dropped",
            criterion="population_load",
            stages=("population",),
            patches=patch(
                "ga/ledger/store.py",
                "insert(connection, individuals, members)",
                "insert(connection, individuals, members[:1500])",
            ),
        ),
    ),
)
