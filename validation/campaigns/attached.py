"""The part of the campaign that breaks nothing, for a cluster that others started."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Final

from fixtures.backends.attached import NOT_OURS
from validation.campaigns.progress import Progress, Stage
from validation.evidence.log import Sink
from validation.evidence.records import Note
from validation.monitors.cluster import Watch
from validation.stages.node_price import node_price
from validation.stages.recovery_drills import Drills
from validation.stages.workloads import Campaign

STAGES: Final = (
    Stage(name="start", criteria="the cluster", seconds=10.0),
    Stage(name="reference", criteria="reproducibility, bad_input", seconds=95.0),
    Stage(
        name="cluster",
        criteria="reproducibility, no_data_loss, cycle_completion, cost_per_day",
        seconds=60.0,
    ),
    Stage(name="populations", criteria="population_load", seconds=45.0),
)
_CLUSTER_S: Final = 60.0
"""A quick cluster goes on for so long: what it is judged by must be watched for a while."""


def look(
    writer: Sink,
    watch: Watch,
    campaign: Campaign,
    drills: Drills,
    *,
    times: int,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Watch the cluster while it works. Its runs stay in the ledger that was given.

    Panels are not asked: an engine beside a cluster of others is not among what it scrapes.

    Args:
        times: how often the evolution is repeated on the cluster, at least.
    """
    say(f"{NOT_OURS}: criteria that rest on faults stay open")
    writer.add(Note(text=f"{NOT_OURS}: no fault is planted, nothing is stopped"))
    writer.add(node_price())
    with watch:
        progress.begin("reference")
        drills.bad_input()
        campaign.reference()
        progress.begin("cluster")
        began = time.monotonic()
        for done in count(1):
            campaign.undisturbed()
            if done >= times and time.monotonic() - began >= _CLUSTER_S:
                break
        progress.begin("populations")
        campaign.populations()
