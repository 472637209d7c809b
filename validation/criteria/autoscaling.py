"""The cluster grows under load and shrinks when idle."""

from __future__ import annotations

from typing import Final

from validation.contract import CLOCK, HARNESS_CPU, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import failed, history
from validation.evidence.queries import workloads
from validation.evidence.records_load import Scaling
from validation.limits import SCALING_S
from validation.mutation.patches import FLEET, patch
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


def autoscaling(records: Records) -> Verdict:
    """The cluster grows to what a run asks for, shrinks when it is idle, and loses nothing.

    Both within 120 s, by the control service's own count of nodes.
    """
    wrong: list[str] = []
    problems: list[str] = []
    ups: list[float] = []
    downs: list[float] = []
    for record in records:
        known = workloads(record)
        for scaling in record.all(Scaling):
            workload = known.get(scaling.workload)
            name = scaling.workload
            if workload is None:
                problems.append(f"the end of {name} was not observed")
                continue
            if not scaling.before <= scaling.least < scaling.most:
                problems.append(f"{name} began with {plural(scaling.before, 'node')}")
                continue
            wrong += [f"{name}: {what}" for what in _unscaled(scaling)]
            found, doubts = history(record, workload)
            wrong += found
            problems += doubts
            if scaling.up_s is not None and scaling.down_s is not None:
                ups.append(scaling.up_s)
                downs.append(scaling.down_s)
    if wrong:
        return failed(wrong)
    if not ups:
        raise InconclusiveError(
            format_list(problems or ["no autoscaling run was recorded"]),
            needs=_SCALING_NEEDS,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=f"up in {max(ups):.1f} s, down in {max(downs):.1f} s",
        reason=f"{plural(len(ups), 'run')} under Ray's autoscaler, nodes counted by the control "
        "service; nothing lost, and the history equals the undisturbed one",
    )
    return downgrade(verdict, problems, needs=_SCALING_NEEDS)


_SCALING_NEEDS: Final = "a run on a cluster that autoscales, about 60 s"


def _unscaled(scaling: Scaling) -> list[str]:
    """What the autoscaler failed to do."""
    found = []
    if scaling.up_s is None or scaling.up_s > SCALING_S:
        found.append(
            f"{scaling.peak} of {scaling.most} nodes were up within {span(scaling.window_s)}"
            if scaling.up_s is None
            else f"{span(scaling.up_s)} until all nodes were up"
        )
    if scaling.down_s is None or scaling.down_s > SCALING_S:
        after = scaling.window_s if scaling.down_s is None else scaling.down_s
        found.append(f"more than {plural(scaling.least, 'node')} {span(after)} after the run")
    return found


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="autoscaling",
            statement="The cluster grows under load and shrinks when idle",
            target="up and down within 120 s",
            clause='Day 7, step 12: "Confirm auto-scaling behavior"',
            evidence_needed="the nodes that the control service counts over a run that begins "
            "and ends",
            passes=(
                "under Ray's autoscaler v2 the nodes grow to what a run asks for and shrink "
                "afterwards, each within 120 s as Ray's control service counts them; nothing is "
                "lost, and the digest is that of an undisturbed run"
            ),
            fails="a time limit was exceeded, an individual was lost, or the digest differs",
            measures=(
                "seconds from the start of a run until all nodes that it asks for are up, and "
                "from its end until only the least number is left"
            ),
            clock="the gate's; the nodes are counted by Ray's control service",
            limits=(
                "how long a cloud takes to start a machine: the nodes are processes of this "
                "machine that Ray's autoscaler starts and ends"
            ),
            verdict=autoscaling,
            trusts=(
                HARNESS_CPU,
                CLOCK,
            ),
            timed=True,
            position=180,
        ),
    ),
    mutants=(
        Mutant(
            name="nodes that are never released",
            criterion="autoscaling",
            stages=("reference", "autoscaling"),
            patches=patch(
                FLEET,
                "            self._request(0)\n",
                "            self._spec.workers\n",
            ),
        ),
    ),
)
