"""The part of the campaign that breaks nothing, for a cluster that others started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fixtures.attached import NOT_OURS
from validation.campaign import Campaign
from validation.drills import Drills
from validation.evidence import Sink
from validation.prices import node_price
from validation.probes import Watch
from validation.progress import Progress, Stage
from validation.records import Note

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
        times: how often the evolution is repeated on the cluster.
    """
    say(f"{NOT_OURS}: criteria that rest on faults stay open")
    writer.add(Note(text=f"{NOT_OURS}: no fault is planted, nothing is stopped"))
    writer.add(node_price())
    with watch:
        progress.begin("reference")
        drills.bad_input()
        campaign.reference()
        progress.begin("cluster")
        for _ in range(times):
            campaign.undisturbed()
        progress.begin("populations")
        campaign.populations()
