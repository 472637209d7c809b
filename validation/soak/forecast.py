"""Progress and forecast of a running soak, and whether its decision is certain already."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from validation.criteria.no_data_loss import no_data_loss
from validation.criteria.uptime import AVAILABILITY, WATCHED, allowed, count
from validation.criteria.worker_recovery import worker_recovery
from validation.evidence.base import Record
from validation.evidence.log import Evidence
from validation.evidence.outages import UptimeTracker
from validation.evidence.records import Fault, Gap, Invocation, Recovery, Workload
from validation.evidence.records_monitoring import Job
from validation.soak.segments import Plan
from validation.verdict import Status, judge, plural, span

FINAL: Final = {
    "worker_recovery": worker_recovery,
    "no_data_loss": no_data_loss,
}
"""Criteria whose FAIL names an event, so that later evidence cannot change it. A share of good
answers is none of them: more answers can raise it.
"""


@dataclass(kw_only=True)
class Live:
    """Receives every event of a soak, in order of time."""

    plan: Plan
    seen: UptimeTracker = field(default_factory=UptimeTracker)
    workloads: int = 0
    """Invocations so far."""
    kills: int = 0
    slowest_s: float = 0.0
    """Slowest recovery."""
    findings: list[str] = field(default_factory=list)
    """Findings that give NO-GO whatever follows."""
    _faults: list[Fault] = field(default_factory=list)
    _digests: dict[tuple[object, ...], tuple[str, str]] = field(default_factory=dict)

    @property
    def wanted_s(self) -> float:
        """Requested watched time."""
        return self.plan.hours * 3600

    @property
    def allowed_s(self) -> float:
        """Down time that the target allows in all of it."""
        return allowed(self.wanted_s)

    def hear(self, at: float, record: Record) -> None:
        """Process one event, just written or read back."""
        if isinstance(record, Job):
            count(self.seen, at, record, self._faults, nodes=self.plan.nodes)
        elif isinstance(record, Gap):
            self.seen.pause()
        elif isinstance(record, Invocation):
            self.workloads += 1
        elif isinstance(record, Fault):
            self.kills += record.fault == "kill"
            self._faults.append(record)
        elif isinstance(record, Recovery) and record.total_s is not None:
            self.slowest_s = max(self.slowest_s, record.total_s)
        elif isinstance(record, Workload) and record.digest is not None:
            key = (record.seed, record.market, record.population_size, record.generations)
            name, digest = self._digests.setdefault(key, (record.id, record.digest))
            if digest != record.digest:
                self.findings.append(f"reproducibility: {name} and {record.id} differ")

    def judge(self, record: Evidence) -> None:
        """Search closed evidence for a FAIL that no later evidence can change."""
        for name, function in FINAL.items():
            verdict = judge(function, [record])
            if verdict.status is Status.FAIL:
                self.findings.append(f"{name}: {verdict.reason}")

    def decided(self) -> str:
        """Why further hours cannot change the decision; empty while they can."""
        if self.findings:
            return self.findings[0]
        if self.seen.down_s > self.allowed_s:
            return f"uptime: down for {span(self.seen.down_s)}, {span(self.allowed_s)} are allowed"
        return ""

    def words(self, now: float, size: int) -> str:
        """Progress and forecast in a line; ``size``: bytes of evidence so far."""
        watched = self.seen.watched_s
        share = min(watched / self.wanted_s, 1.0)
        up = 100 * (1 - self.seen.down_s / watched) if watched else 0.0
        count = len(self.seen.outages) + self.seen.down
        parts = [
            f"{watched / 3600:.2f} of {self.plan.hours:g} h watched",
            f"up {up:.3f} %, {plural(count, 'outage')}, "
            f"{span(self.seen.down_s)} of {span(self.allowed_s)} allowed used",
            f"{plural(self.workloads, 'workload')}, {plural(self.kills, 'kill')}"
            + (f", slowest recovery {self.slowest_s:.1f} s" if self.slowest_s else ""),
        ]
        if share > 0:
            end = datetime.fromtimestamp(now + self.wanted_s - watched, UTC)
            # Half a minute of evidence cannot predict the size of two days of it.
            total = f" of {size / share / 1e6:.0f}" if watched > 600 else ""
            parts.append(f"{size / 1e6:.1f}{total} MB, done about {end:%Y-%m-%d %H:%M} UTC")
        return "; ".join([*parts, f"expected: {self._heading()}"])

    def _heading(self) -> str:
        """The verdict on uptime if the rest is like the time so far."""
        if self.decided():
            return "FAIL"
        if self.wanted_s < WATCHED.planned:
            return f"INCONCLUSIVE (uptime takes {WATCHED.planned / 3600:.0f} h)"
        watched = self.seen.watched_s
        if watched and self.seen.down_s / watched > 1 - AVAILABILITY.planned:
            return "FAIL"
        return "PASS"
