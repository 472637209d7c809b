"""The campaigns: which stages are run, in which order.

The short campaign has the stages of ``FULL`` at another ``Scale``. Random faults are a plug-in with
one stage (``fault_schedule``). A soak is no list: it repeats its work for days, in segments that
survive a kill (``validation.soak``).
"""

from __future__ import annotations

from typing import Final

from validation.campaigns.run import Step
from validation.criteria.registry import OWN_STAGES

FULL: Final = (
    # While the cluster is idle, before any work.
    Step(stage="network", watched=False),
    Step(stage="actors", watched=False),
    Step(stage="sockets", watched=False),
    # The cluster has no work during the reference: its alert costs no time.
    Step(stage="backup", alongside=("alert",)),
    Step(stage="recovery", instead="cluster"),
    Step(stage="sockets at work"),
    Step(stage="preemption"),
    Step(stage="population", custom=True),
    *(Step(stage=stage.name) for stage in OWN_STAGES),
    Step(stage="panels"),
    Step(stage="speedup"),
    # It ends the cache and the database, which the measurements before it need.
    Step(stage="alerts at work"),
    # Afterwards there is no cluster; the later stages need none, or start their own. Bad inputs are
    # not tried during the backup of a run, because they would delay it.
    Step(stage="rollback", alongside=("bad input",), watched=False),
    # Reading two histories is the gate's own work: it must not run during measurements.
    Step(stage="autoscaling", alongside=("restore", "head alert"), watched=False),
    Step(stage="service", watched=False),
    Step(stage="secrets", watched=False),
)
"""Also used for the quick campaign, which gathers less of the same evidence, and for a deployed
target: there each stage is left out that needs what the target lacks.
"""

ATTACHED: Final = (
    Step(stage="bad input"),
    Step(stage="reference"),
    Step(stage="cluster"),
    Step(stage="population"),
    *(Step(stage=stage.name) for stage in OWN_STAGES),
    Step(stage="secrets", watched=False),
)
"""For an attached cluster: no faults. Panels are not queried, because its Prometheus does not
scrape the engine of this machine.
"""
