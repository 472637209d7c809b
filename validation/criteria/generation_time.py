"""A distributed generation of at least 500 individuals is quick on average."""

from __future__ import annotations

from typing import Final

from validation import statistics
from validation.contract import HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import (
    FEWEST,
    distributed,
    generations,
    local_generations,
    unknown_place,
)
from validation.criteria.plan import METRICS
from validation.mutation.patches import CLUSTER_LOST_AGAIN, patch
from validation.thresholds import Threshold
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

GENERATION_S: Final = 300.0
"""The plan's pace of generations, by which work is planned."""
MEAN: Final = Threshold(
    criterion="generation_time", name="mean", unit="s", stricter="lower", sensible=3600.0
)


GENERATION_POPULATION: Final = 500


def generation_time(records: Records) -> Verdict:
    """Mean time of generations of 500 or more individuals that the cluster did, below 300 s.

    The upper t bound of the mean decides. A generation of which this machine evaluated individuals
    is left out. A planned generation that was left out or never committed may be the slow one, so
    it rules out a PASS.
    """
    seconds: list[float] = []
    problems: list[str] = []
    for record in records:
        done, local = generations(record), local_generations(record)
        for workload in distributed(record):
            if workload.population_size < GENERATION_POPULATION:
                continue
            elsewhere = local[workload.id]
            if elsewhere is None:
                problems.append(unknown_place(workload))
                elsewhere = frozenset()
            large = [
                g.seconds
                for number, g in done.get(workload.id, {}).items()
                if g.individuals >= GENERATION_POPULATION and number not in elsewhere
            ]
            seconds += large
            planned = workload.generations
            if len(large) < planned:
                problems.append(
                    f"{workload.id} has times for {len(large)} of {planned}"
                    + (f"; this machine did {len(elsewhere)}" if elsewhere else "")
                )
    if len(seconds) < FEWEST:
        raise InconclusiveError(
            format_list(
                [
                    f"{plural(len(seconds), 'distributed generation')} of at least "
                    f"{GENERATION_POPULATION} individuals",
                    *problems,
                ]
            ),
            needs=plural(FEWEST - len(seconds), "more of them", "more of them"),
        )
    time = statistics.mean(seconds)
    measured = f"{time.point:.1f} s over {len(seconds)} generations"
    interval = (time.lower, time.upper)
    budget = (
        f"{MEAN.value:.0f} s allows generations {MEAN.value / time.point:.3g} times as long"
        if time.point > 0
        else f"{MEAN.value:.0f} s a generation are allowed; no time was measured"
    )
    if time.lower >= MEAN.value:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=f"the mean is not below {MEAN.value:.0f} s; slowest {max(seconds):.1f} s",
            budget=budget,
        )
    if time.upper >= MEAN.value:
        return inconclusive(
            f"the mean may be as high as {time.upper:.1f} s",
            needs=format_shortfall(
                statistics.values_needed(seconds, MEAN.value, above=False),
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
    return downgrade(verdict, problems, needs="every planned generation, committed")


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="generation_time",
            statement="A distributed generation of at least 500 individuals is quick on average",
            target="< 300 s",
            unit="s",
            clause=f'{METRICS}: "average_generation_time ... Target: < 5 minutes per generation"',
            evidence_needed="3 or more distributed generations of at least 500 individuals",
            passes=(
                "the upper 95 % t bound of the mean of generations of 500 or more individuals that "
                "the cluster did is below 300 s; a generation of which this machine evaluated "
                "individuals after a failover is left out, and rules out a PASS"
            ),
            fails="the lower 95 % t bound of the mean is 300 s or more",
            measures="a generation from breeding to the end of its evaluation, as stored with it in"
            " the ledger; every planned generation of every distributed workload counts",
            clock="the engine's clock, compared with the gate's: generations must fit between the "
            "start and the end of their process",
            limits="the time of generations of other families, markets or sizes; the start-up of a"
            " run, which no generation includes",
            verdict=generation_time,
            trusts=(HARNESS_CPU,),
            timed=True,
            position=50,
            thresholds=(MEAN,),
        ),
    ),
    mutants=(
        Mutant(
            name="generations ten minutes longer, by the ledger",
            criterion="generation_time",
            stages=("recovery",),
            patches=patch(
                "ga/runner.py",
                "        seconds = time.perf_counter() - began\n",
                "        seconds = 600.0 + time.perf_counter() - began\n",
            ),
        ),
        Mutant(
            name="most generations are evaluated by this machine",
            criterion="generation_time",
            stages=("recovery",),
            patches=CLUSTER_LOST_AGAIN,
            expects="INCONCLUSIVE",
        ),
    ),
)
