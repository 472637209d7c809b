"""The campaigns: which stages are run, in which order."""

from __future__ import annotations

from typing import Final

from validation.campaigns.run import Step

FULL: Final = (
    # In a quiet moment, before anything is done.
    Step(stage="network", watched=False),
    Step(stage="actors", watched=False),
    Step(stage="sockets", watched=False),
    # The cluster has no work during the reference: its alert costs no time.
    Step(stage="backup", alongside=("alert",)),
    Step(stage="recovery"),
    Step(stage="preemption"),
    Step(stage="population", custom=True),
    Step(stage="panels"),
    Step(stage="speedup"),
    # Afterwards there is no cluster; what follows needs none, or makes its own. Bad inputs mostly
    # wait; beside the backup of a run they would make it late.
    Step(stage="rollback", alongside=("bad input",), watched=False),
    # Reading two histories is work of the gate's own: not beside what it measures.
    Step(stage="autoscaling", alongside=("restore",), watched=False),
    Step(stage="service", watched=False),
    Step(stage="secrets", watched=False),
)
"""Also in its short form, which gathers less of the same."""

ATTACHED: Final = (
    Step(stage="bad input"),
    Step(stage="reference"),
    Step(stage="cluster"),
    Step(stage="population"),
    Step(stage="secrets", watched=False),
)
"""For a cluster that others started: nothing is broken. Panels are not asked: an engine beside such
a cluster is not among what it scrapes."""
