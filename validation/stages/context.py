"""Context of a stage: the stack, the evidence and the options."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from evolution_gate.fixtures.protocols import Receipt, Stack
from validation.evidence.base import Record
from validation.evidence.log import Sink
from validation.monitors.alert_webhook import Webhook
from validation.monitors.cluster import ExcusedOutages
from validation.stages.fault_records import as_fault
from validation.stages.recovery_drills import Drills
from validation.stages.scale import SHORT, Scale
from validation.stages.workloads import Workloads

_CUSTOM: Final = 0x0914


@dataclass(frozen=True, kw_only=True)
class Context:
    """A running stack, and the evidence that a stage writes to."""

    stack: Stack
    writer: Sink
    outages: ExcusedOutages
    """Must be notified before a node is taken down, and when it is back."""
    folder: Path
    """Folder for logs; it is kept."""
    seed: int
    say: Callable[[str], None]
    """Progress, a line at a time."""
    work: Path | None = None
    """Folder for files that are removed at the end; None: the same folder."""
    scale: Scale = SHORT
    webhook: Webhook | None = None
    """Receives the stack's alerts; None if there is no receiver."""
    began: float = field(default_factory=time.time)
    """Unix seconds."""

    @cached_property
    def rng(self) -> np.random.Generator:
        """Random numbers from the run's seed; ``--replay`` repeats them."""
        return np.random.Generator(np.random.Philox(key=[self.seed, _CUSTOM]))

    @cached_property
    def workloads(self) -> Workloads:
        """Evolutions on the stack, counted over all stages."""
        return Workloads(
            self.stack,
            self.writer,
            seed=self.seed,
            scale=self.scale,
            folder=self.folder,
            outages=self.outages,
            say=self.say,
        )

    @cached_property
    def drills(self) -> Drills:
        """Operators' tasks; backups are kept for later stages."""
        return Drills(
            self.workloads, self.stack, self.writer, folder=self.work or self.folder, say=self.say
        )

    def on(self, stack: Stack, folder: Path) -> Context:
        """The same context for another stack, whose ledger is in ``folder``."""
        return replace(self, stack=stack, folder=folder)

    def add(self, record: Record) -> None:
        """Write one record."""
        self.writer.add(record)

    def fault(self, receipt: Receipt, *, workload: str | None = None) -> Receipt:
        """Write a fault, or its undo, with its receipt; an unconfirmed one rules out a PASS."""
        self.writer.add(as_fault(receipt, workload))
        return receipt

    def application(
        self, code: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a program that uses the cluster, in the stack's own environment.

        ``sys.argv[1]`` is the address of the cluster; ``arguments`` follow.
        """
        argv = [sys.executable, "-c", code, self.stack.endpoints.ray, *arguments]
        return self.stack.driver(argv, {**self.stack.endpoints.env, **(env or {})})
