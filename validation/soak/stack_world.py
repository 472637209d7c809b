"""The soak's environment on a real stack."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.protocols import Stack, StackError
from validation.evidence.records import Note
from validation.monitors.cluster import ExcusedOutages
from validation.safety.guard import GuardError
from validation.soak.forecast import Live
from validation.soak.segments import Segments
from validation.stages.ledger_audit import forget
from validation.stages.scale import SHORT, Scale
from validation.stages.workloads import Workloads, store_of

PERIOD_S: Final = 5.0
"""Seconds from one probe of the cluster to the next."""
EVERY: Final = 9
"""Everything else is read at every N-th probe, so that two days fit in 30 MB."""
OBSERVE_S: Final = 10.0
"""Seconds between readings of the harness, so that each workload has two of them."""
SCALE: Final = Scale(pairs=0, recoveries=1, speedup=SHORT.speedup, evolution=SHORT.evolution)


class StackWorld:
    """Workloads of the campaign on a running stack, one at a time.

    Args:
        folder: Logs of the current workload; they are removed when it is recorded.
    """

    def __init__(
        self,
        stack: Stack,
        segments: Segments,
        live: Live,
        *,
        folder: Path,
        outages: ExcusedOutages,
        say: Callable[[str], None],
    ) -> None:
        self._segments, self._live, self._folder = segments, live, folder
        self._store = store_of(stack, folder)
        self._campaign = Workloads(
            stack,
            segments,
            seed=segments.folder.plan.seed,
            scale=SCALE,
            folder=folder,
            outages=outages,
            say=say,
            before=live.workloads,
        )

    def now(self) -> float:
        """The time."""
        return time.time()

    def rest(self, seconds: float) -> None:
        """Let the probes continue."""
        time.sleep(seconds)

    def reference(self) -> None:
        """The local histories that all others are compared with."""
        self._do(self._campaign.reference)

    def work(self, *, kill: bool) -> None:
        """One evolution on the cluster."""
        self._do(self._campaign.recoveries if kill else self._campaign.undisturbed)

    def _do(self, task: Callable[[], None]) -> None:
        try:
            task()
        except GuardError:
            raise
        except StackError as error:
            # The cluster may be down, which the soak measures by its probes.
            self._segments.add(Note(text=f"a workload could not be run: {error}"))
            return
        if not self._live.decided():
            # Two days of logs and rows would fill a disk. Those with a finding are kept.
            forget(self._store)
            for log in self._folder.glob("*.batches.jsonl"):
                log.unlink()
