"""Planned generations of distributed evolution are completed without a failed individual."""

from __future__ import annotations

from typing import Final

from validation import statistics
from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import (
    distributed,
    generations,
    local_generations,
    unknown_place,
    wall,
)
from validation.criteria.plan import METRICS
from validation.mutation.patches import CLUSTER_LOST_AGAIN, DRIVER, patch
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
)

CYCLE_RATE: Final = Threshold(
    criterion="cycle_completion",
    name="completed",
    unit="%",
    stricter="higher",
    sensible=80.0,
    most=99.99,
)


_EXACT: Final = 1e-9
"""Tolerance for binary fractions: 0.05 times 100 counts as 5."""


def cycle_completion(records: Records) -> Verdict:
    """Share of planned distributed generations that the cluster completed, at least 95 %.

    A planned generation that was not committed, or with a failed individual, or of which this
    machine evaluated individuals after a failover, is a failed cycle, however its workload ended.
    PASS: the exact lower bound reaches the target. FAIL: the upper bound does not.
    """
    planned = complete = 0
    wall_s = 0.0
    short: list[str] = []
    problems: list[str] = []
    for record in records:
        done, local = generations(record), local_generations(record)
        for workload in distributed(record):
            elsewhere = local[workload.id]
            if elsewhere is None:
                problems.append(unknown_place(workload))
                elsewhere = frozenset()
            whole = sum(
                1
                for number, g in done.get(workload.id, {}).items()
                if g.failed == 0 and number not in elsewhere
            )
            planned += workload.generations
            wall_s += wall(workload)
            complete += whole
            if whole < workload.generations:
                short.append(
                    f"{workload.id} completed {whole} of {workload.generations}"
                    + (f"; this machine did {len(elsewhere)}" if elsewhere else "")
                )
    if not planned:
        raise InconclusiveError("no distributed workload was recorded", needs="59 cycles")
    rate = statistics.proportion(complete, planned)
    measured = f"{100 * rate.point:.1f} % ({complete} of {planned})"
    interval = (100 * rate.lower, 100 * rate.upper)
    budget = (
        f"{100 * CYCLE_RATE.value:g} % allows {int((1 - CYCLE_RATE.value) * planned + _EXACT)} "
        f"failed of {planned}; {planned - complete} failed"
    )
    if rate.upper < CYCLE_RATE.value:
        return Verdict(
            status=Status.FAIL,
            measured=measured,
            interval=interval,
            reason=format_list(short),
            budget=budget,
        )
    shown = f"{complete} of {planned} cycles show at least {100 * rate.lower:.1f} %"
    if rate.lower >= CYCLE_RATE.value:
        verdict = Verdict(
            status=Status.PASS, measured=measured, interval=interval, reason=shown, budget=budget
        )
        return downgrade(verdict, problems, needs="the record of failovers of every workload")
    more = statistics.successes_needed(complete, planned, CYCLE_RATE.value)
    return inconclusive(
        "; ".join([shown, *short[:3], *problems[:3]]),
        needs=f"{format_shortfall(more, 'cycle', each_s=wall_s / planned)}, without a failure",
        measured=measured,
        interval=interval,
        budget=budget,
    )


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="cycle_completion",
            statement="Planned generations of distributed evolution are completed without a failed "
            "individual",
            target="≥ 95 %",
            unit="%",
            clause=f'{METRICS}: "evolution_cycle_completion_rate ... Target: 95%+ success"',
            evidence_needed="59 planned generations without a failure, or 93 with one",
            passes=(
                "the exact (Clopper-Pearson) lower 95 % bound of generations that the cluster "
                "completed is at least 95 %: 59 without a failure; a generation of which this "
                "machine evaluated individuals after a failover is not completed"
            ),
            fails="the upper bound is below 95 %",
            measures="planned generations of distributed workloads, undisturbed or with a node "
            "killed, against those that the ledger shows committed without a failed individual",
            clock="counted by SQL in the ledger after the workload had ended; where a batch was "
            "evaluated is the engine's own log",
            limits="completion under other faults than one node's loss, or over days; generations "
            "are counted as independent, though those of one workload share its cluster",
            verdict=cycle_completion,
            position=40,
            thresholds=(CYCLE_RATE,),
        ),
    ),
    mutants=(
        Mutant(
            name="lost batch",
            criterion="cycle_completion",
            stages=("recovery",),
            patches=patch(
                DRIVER,
                "            for result in dispatcher.run():\n"
                "                self._connection.send(result)",
                "            for number, result in enumerate(dispatcher.run()):\n"
                "                if number != 2: self._connection.send(result)",
            ),
        ),
        Mutant(
            name="most generations are evaluated by this machine",
            criterion="cycle_completion",
            stages=("recovery",),
            patches=CLUSTER_LOST_AGAIN,
        ),
    ),
)
