"""A thread that polls dashboard, Prometheus and node resources every few seconds."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from typing import Final, Self

from evolution_gate.fixtures.protocols import NodeUsage, Stack, StackError
from evolution_gate.fixtures.system.http_client import JsonHttpClient
from validation.evidence.log import Sink
from validation.evidence.records import Services, Usage
from validation.evidence.records_monitoring import Probe, Scrape
from validation.limits import CLUSTER, FRESH_S

PERIOD_SECONDS: Final = 2.0
_EXTRA: Final = 3
"""Further requests to the dashboard in each period, of which all are needed to show 99 %."""
_TIMEOUT: Final = 5.0
_SETTLE_SECONDS: Final = 30.0
"""Seconds after the receipt of a node's start in which its exporter may not be scraped yet."""


class ExcusedOutages:
    """Nodes that are down because of an injected fault."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._down: set[str] = set()
        self._settled: dict[str, float] = {}

    def down(self, node: str) -> None:
        """A fault on ``node`` will be requested now."""
        with self._lock:
            self._down.add(node)

    def up(self, node: str) -> None:
        """A receipt shows that ``node`` is back."""
        with self._lock:
            self._down.discard(node)
            self._settled[node] = time.monotonic() + _SETTLE_SECONDS

    def excused(self, node: str) -> bool:
        """Whether a missing sample of ``node`` is now explained by an injected fault."""
        with self._lock:
            return node in self._down or time.monotonic() < self._settled.get(node, 0.0)


def target_of(labels: Mapping[str, str], targets: Mapping[str, str]) -> str:
    """The target of a series: by its scrape address, else by its label ``node``."""
    here = (name for name, at in targets.items() if at == labels.get("instance"))
    return next(here, labels.get("node", ""))


class ClusterMonitor:
    """Runs the probes inside a ``with`` block. A probe that raises an error is a failed probe.

    Args:
        period: Seconds from one probe of the cluster to the next.
        every: Everything else is read at every N-th probe.
    """

    def __init__(
        self,
        stack: Stack,
        writer: Sink,
        outages: ExcusedOutages,
        *,
        period: float = PERIOD_SECONDS,
        every: int = 1,
    ) -> None:
        self._stack, self._writer, self._outages = stack, writer, outages
        self._period, self._every = period, every
        self._asking = JsonHttpClient(connect=_TIMEOUT, read=_TIMEOUT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._error: BaseException | None = None
        self._last: Services | None = None
        self._owed: Services | None = None
        """The last reading of services, if it was not written."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        # A monitor that failed must not look like one without events.
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        try:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                began = time.monotonic()
                self._cluster()
                if number % self._every == 0:
                    self._dashboard()
                    self._targets()
                    self._usage()
                self._services(due=number % self._every == 0)
                self._rest(began)
        except BaseException as error:
            self._error = error

    def _rest(self, began: float) -> None:
        """Wait for the end of the period; where all is read in each, ask the dashboard again."""
        for number in range(1, _EXTRA + 1 if self._every == 1 else 1):
            due = began + self._period * number / (_EXTRA + 1) - time.monotonic()
            # One that does not answer must not delay the other readings.
            if due <= 0 or self._stop.wait(due) or not self._dashboard():
                break
        self._stop.wait(max(0.0, began + self._period - time.monotonic()))

    def _cluster(self) -> None:
        began = time.monotonic()
        try:
            alive = self._stack.alive_nodes()
            ok, detail = bool(alive), f"{len(alive)} nodes alive"
        except StackError as error:
            ok, detail = False, str(error).splitlines()[0]
        self._writer.add(
            Probe(
                probe=CLUSTER,
                ok=ok,
                latency_s=time.monotonic() - began,
                detail=detail,
                excused=False,
            )
        )

    def _dashboard(self) -> bool:
        """Ask it for its version; returns whether it answered."""
        began = time.monotonic()
        try:
            ends = self._stack.endpoints
            url = ends.dashboard.rstrip("/") + "/api/version"
            status, answer = self._asking.get(url, headers=ends.headers)
            ok = status == 200 and "ray_version" in answer
            detail = f"HTTP {status}"
        except (OSError, ValueError) as error:
            # A missing token file is an OSError, too.
            ok, detail = False, f"{type(error).__name__}: {error}"
        self._writer.add(
            Probe(
                probe="dashboard",
                ok=ok,
                latency_s=time.monotonic() - began,
                detail=detail,
                excused=False,
            )
        )
        return ok

    def _targets(self) -> None:
        if self._stack.endpoints.prometheus is None:
            return
        ups = self.query("up")
        stamps = self.query("timestamp(up)")
        now = time.time()
        for target in self._stack.scrape_targets:
            stamp = stamps.get(target)
            age = None if stamp is None else max(0.0, now - stamp)
            up = ups.get(target) == 1.0
            # A good reading needs no excuse.
            bad = not up or age is None or age > FRESH_S
            excused = bad and self._outages.excused(target)
            self._writer.add(Scrape(target=target, up=up, age_s=age, excused=excused))

    def steady(self, seconds: float) -> bool:
        """Wait until Prometheus sees every target up; False when it has not after ``seconds``."""
        if self._stack.endpoints.prometheus is None:
            return True
        deadline = time.monotonic() + seconds
        while any(self.query("up").get(name) != 1.0 for name in self._stack.scrape_targets):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def query(self, expression: str) -> dict[str, float]:
        """Value of an instant query by target name; empty when Prometheus does not answer."""
        try:
            url = f"{self._stack.endpoints.prometheus}/api/v1/query"
            _, answer = self._asking.get(url, params={"query": expression})
            result = answer["data"]["result"]
        except (OSError, ValueError, KeyError):
            # Without an answer no target has a sample, and that is recorded.
            return {}
        return {
            target_of(row["metric"], self._stack.scrape_targets): float(row["value"][1])
            for row in result
        }

    def _usage(self) -> None:
        self._read("head", self._stack.head_usage())
        for node in self._stack.nodes:
            self._read(node.name, node.usage())

    def _services(self, *, due: bool) -> None:
        """Write a reading when it is due, and the readings just before and after any change."""
        found = self._stack.services()
        excused = tuple(name for name in found if self._outages.excused(name))
        last, now = self._last, Services(at=time.time(), incarnations=found, excused=excused)
        owed, self._last, self._owed = self._owed, now, None
        if last is not None and last.incarnations != found:
            if owed is not None:
                self._writer.add(owed)
            due = True
        if due:
            self._writer.add(now)
        else:
            self._owed = now

    def _read(self, name: str, usage: NodeUsage | None) -> None:
        if usage is None:
            # A missing value must not be recorded as zero.
            return
        self._writer.add(
            Usage(
                node=name,
                at=usage.at,
                cpu_seconds=usage.cpu_seconds,
                memory_bytes=usage.memory_bytes,
                oom_kills=usage.oom_kills,
                # Read from the kernel: a limit that was requested may not be in force.
                limit_bytes=usage.memory_limit,
                cpus=usage.cpus,
                throttled_s=usage.throttled_s,
            )
        )
