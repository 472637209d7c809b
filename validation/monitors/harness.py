"""A thread that monitors the gate itself: its CPU time, its clocks, its Prometheus' samples, and
what else uses the machine.
"""

from __future__ import annotations

import math
import os
import threading
import time
from itertools import pairwise
from typing import Final, Self

from evolution_gate.fixtures.protocols import Stack
from evolution_gate.fixtures.system import process_table
from evolution_gate.fixtures.system.http_client import JsonHttpClient
from validation.evidence.log import Sink
from validation.evidence.records_self_check import HarnessReading
from validation.monitors.cluster import target_of
from validation.monitors.machine import MachineMeter

OBSERVE_SECONDS: Final = 2.0
"""CPU time is measured between two readings in one workload, which may last only seconds."""
_TIMEOUT: Final = 5.0
_NAME: Final = "observe"
_LOOKERS: Final = frozenset({"watch", "jobs", _NAME})
"""Names of the threads that only monitor."""
_REACH_S: Final = 60.0
"""Seconds that the first query of samples covers."""


class HarnessMonitor:
    """Takes readings inside a ``with`` block, also while the cluster monitor does not run.

    Args:
        period: Seconds from one reading to the next.
    """

    def __init__(self, stack: Stack, writer: Sink, *, period: float = OBSERVE_SECONDS) -> None:
        self._url, self._writer, self._period = stack.endpoints.prometheus, writer, period
        self._targets = stack.scrape_targets
        self._machine = MachineMeter(stack.marks)
        self._asking = JsonHttpClient(connect=_TIMEOUT, read=_TIMEOUT)
        self._last: dict[str, float] = {}
        """Target to the time of its newest sample so far."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        # If this thread fails its readings stop, and the verdicts that depend on it are
        # INCONCLUSIVE.
        while not self._stop.wait(self._period):
            self.read()
        self.read()

    def read(self) -> None:
        """Write one reading, and one of the machine."""
        silence = self._silence()
        before = time.monotonic()
        at = time.time()
        # Between the two clocks, because this thread may have to wait for a core.
        monotonic = (before + time.monotonic()) / 2
        self._writer.add(
            HarnessReading(
                at=at,
                monotonic_s=monotonic,
                harness_cpu_s=process_table.cpu_seconds(os.getpid()),
                watch_cpu_s=sum(
                    process_table.thread_cpu_seconds(os.getpid(), thread.native_id)
                    for thread in threading.enumerate()
                    if thread.name in _LOOKERS and thread.native_id is not None
                ),
                silence_s=silence,
            )
        )
        self._writer.add(self._machine.read())

    def _silence(self) -> dict[str, float]:
        if self._url is None:
            return {}
        now = time.time()
        samples = self._samples(now)
        longest = {}
        for target in {*samples, *self._last}:
            new = sorted(t for t in samples.get(target, ()) if t > self._last.get(target, 0.0))
            marks = [*([self._last[target]] if target in self._last else []), *new]
            longest[target] = max(
                max(b - a, 0.0) for a, b in pairwise([*marks, max(now, marks[-1])])
            )
            self._last[target] = marks[-1]
        return longest

    def _samples(self, now: float) -> dict[str, list[float]]:
        """Times of the samples of ``up`` by target; none when Prometheus does not answer."""
        reach = now - min(self._last.values()) + 1 if self._last else _REACH_S
        try:
            _, answer = self._asking.get(
                f"{self._url}/api/v1/query",
                params={"query": f"up[{math.ceil(max(reach, 1.0))}s]", "time": f"{now:.3f}"},
            )
            rows = answer["data"]["result"]
        except (OSError, ValueError, KeyError):
            # No answer counts as a gap; later samples show how long it was.
            return {}
        found = {
            target_of(row["metric"], self._targets): [float(at) for at, _ in row["values"]]
            for row in rows
        }
        return {target: times for target, times in found.items() if target}
