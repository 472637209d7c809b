"""Every criterion of the gate as data: what is asked, where the plan asks it, what would show it.

Clauses quote the phase 1 plan ("Ray Cluster Scaling Implementation Plan", 2025-08-05). The ids are
final and the order is that of the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from validation.checks import (
    availability,
    cost,
    exposure,
    health,
    monitoring,
    network,
    operations,
    performance,
    resilience,
    stability,
)
from validation.verdicts import VerdictFunction, not_measured


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that must hold before Phase 2."""

    id: str
    statement: str
    """What must hold, in a sentence."""
    target: str
    """The number that it is held against, with its unit."""
    unit: str
    """Unit of the verdict's interval; empty when there is none."""
    clause: str
    """Where the plan asks for it."""
    evidence_needed: str
    """The least that a PASS takes."""
    verdict: VerdictFunction
    measured: bool
    """False: nothing measures it yet, and its verdict is always INCONCLUSIVE."""


_METRICS: Final = "Success Metrics & Validation Criteria"
_GO: Final = "Go/No-Go Criteria for Phase 2"


def _measured(
    id_: str,
    statement: str,
    target: str,
    *,
    unit: str = "",
    clause: str,
    evidence: str,
    verdict: VerdictFunction,
) -> Criterion:
    return Criterion(
        id=id_,
        statement=statement,
        target=target,
        unit=unit,
        clause=clause,
        evidence_needed=evidence,
        verdict=verdict,
        measured=True,
    )


def _later(
    id_: str, statement: str, target: str, *, unit: str = "", clause: str, evidence: str
) -> Criterion:
    return Criterion(
        id=id_,
        statement=statement,
        target=target,
        unit=unit,
        clause=clause,
        evidence_needed=evidence,
        verdict=not_measured(evidence),
        measured=False,
    )


CRITERIA: Final[tuple[Criterion, ...]] = (
    _measured(
        "uptime",
        "The cluster is available for two days on end",
        "≥ 99 % over ≥ 48 h",
        unit="%",
        clause=f'{_GO}: "Ray cluster maintains 99%+ uptime for 48+ hours"',
        evidence="48 watched hours with few outages, from python -m validation soak",
        verdict=availability.uptime,
    ),
    _measured(
        "worker_recovery",
        "A killed worker node is replaced and its work redone",
        "< 120 s",
        unit="s",
        clause=f'{_METRICS}: "ray_worker_failure_recovery_time ... Target: < 2 minutes"',
        evidence="4 or more kills of a node, each with a confirmed receipt and all phases timed",
        verdict=resilience.worker_recovery,
    ),
    _measured(
        "dashboard",
        "Ray's dashboard answers",
        "every request answered",
        unit="%",
        clause=f'{_METRICS}: "ray_dashboard_accessible"',
        evidence="10 or more requests over 30 s, all through the work",
        verdict=health.dashboard,
    ),
    _measured(
        "cycle_completion",
        "Planned generations of distributed evolution are completed without a failed individual",
        "≥ 95 %",
        unit="%",
        clause=f'{_METRICS}: "evolution_cycle_completion_rate ... Target: 95%+ success"',
        evidence="59 planned generations without a failure, or 93 with one",
        verdict=performance.cycle_completion,
    ),
    _measured(
        "generation_time",
        "A distributed generation of at least 500 individuals is quick on average",
        "< 300 s",
        unit="s",
        clause=f'{_METRICS}: "average_generation_time ... Target: < 5 minutes per generation"',
        evidence="3 or more distributed generations of at least 500 individuals",
        verdict=performance.generation_time,
    ),
    _measured(
        "speedup",
        "The cluster evolves faster than one node of the same size",
        "≥ 2.0×",
        unit="×",
        clause=f'{_GO}: "Genetic algorithm shows 2x+ performance improvement"',
        evidence="3 or more pairs of equal work, local and distributed, interleaved in time",
        verdict=performance.speedup,
    ),
    _measured(
        "prometheus_collection",
        "Prometheus collects from the head and every node",
        "every target up, sample ≤ 15 s old",
        unit="% of readings bad",
        clause=f'{_GO}: "All monitoring systems functional and collecting metrics"',
        evidence="10 or more readings of every target, all through the work",
        verdict=health.prometheus_collection,
    ),
    _measured(
        "grafana_functional",
        "Grafana runs and every panel has data",
        "every panel answers with data",
        clause=f'{_METRICS}: "grafana_dashboards_functional"',
        evidence="a healthy Grafana, and every query of every panel asked through it",
        verdict=monitoring.grafana_functional,
    ),
    _measured(
        "container_stability",
        "Nothing restarts or ends that was not made to",
        "0 unexpected restarts",
        unit="a day and service",
        clause=f'{_METRICS}: "docker_container_stability ... No unexpected restarts"',
        evidence="10 readings over 30 s of which incarnation of every service runs, all through "
        "the work, and a receipt for each that changed",
        verdict=stability.container_stability,
    ),
    _measured(
        "cpu_efficiency",
        "Nodes use the CPU they are allotted while evaluating",
        "> 70 %",
        unit="%",
        clause=f'{_METRICS}: "cpu_utilization_efficiency ... Target: > 70% utilization"',
        evidence="CPU time of every node in 3 or more distributed workloads",
        verdict=performance.cpu_efficiency,
    ),
    _measured(
        "memory_stability",
        "Nothing runs out of memory and no node leaks",
        "0 out-of-memory events, no leak",
        unit="MB/min",
        clause=f'{_METRICS}: "memory_usage_stability ... No out-of-memory errors"',
        evidence="20 readings over 60 s of every node after its warm-up, with a known limit",
        verdict=health.memory_stability,
    ),
    _measured(
        "network_latency",
        "Nodes reach each other quickly",
        "< 10 ms at the 99th percentile",
        unit="ms",
        clause=f'{_METRICS}: "network_latency_acceptable ... < 10ms inter-worker"',
        evidence="299 or more round trips between every two nodes, in their own networks",
        verdict=network.network_latency,
    ),
    _measured(
        "cost_per_day",
        "A day in the cloud, 500 individuals evolved every 300 s, stays within the budget",
        "< $30",
        unit="$",
        clause=f'{_GO}: "Resource utilization within expected parameters (< $30/day if cloud)"',
        evidence="node-seconds of 3 or more distributed speed-up workloads, and a dated price",
        verdict=cost.cost_per_day,
    ),
    _measured(
        "no_data_loss",
        "No individual is lost, doubled or altered, whatever is killed",
        "0 lost or doubled",
        unit="share of individuals",
        clause=f'{_GO}: "No critical failures or data loss during testing"',
        evidence="an audit of every finished workload's ledger, a node killed during one of them",
        verdict=resilience.no_data_loss,
    ),
    _measured(
        "reproducibility",
        "The same seed gives the same history, local or distributed, whatever is killed",
        "equal digests",
        unit="share of histories different",
        clause='Purpose of the plan: "computational scaling from single-machine to multi-worker '
        'distributed processing", which must not change results',
        evidence="equal workloads: local, distributed, two sizes, one with a node killed",
        verdict=resilience.reproducibility,
    ),
    _measured(
        "alerting",
        "A planted fault fires its alert, and the alert clears",
        "fires within 60 s of a node's kill, clears within 60 s of its return",
        clause='Day 5-6: "Configure alerting for cluster health and performance"',
        evidence="what Alertmanager sent before, during and after a kill with a receipt",
        verdict=monitoring.alerting,
    ),
    _measured(
        "rollback",
        "A run finishes on one machine when the cluster is lost",
        "finishes with an equal digest",
        clause='Rollback Strategy: "System continues operation without distributed benefits"',
        evidence="a run whose head and nodes are killed, by receipt, with its audit",
        verdict=operations.rollback,
    ),
    _later(
        "autoscaling",
        "The cluster grows under load and shrinks when idle",
        "up under load, down when idle",
        clause='Day 7, step 12: "Confirm auto-scaling behavior"',
        evidence="the number of nodes over a load that begins and ends",
    ),
    _later(
        "preemption",
        "A node that is taken away with notice loses nothing",
        "0 lost",
        clause='Cloud Deployment Scaling: "Spot instances for cost optimization"',
        evidence="a drain with a deadline, then a kill, with an audit",
    ),
    _measured(
        "backup_restore",
        "The history can be restored from a backup",
        "equal digest",
        clause='Operational Procedures: "Regular backup of genetic algorithm evolution results"',
        evidence="one backup at rest and one while a run writes, restored, and damaged",
        verdict=operations.backup_restore,
    ),
    _later(
        "population_load",
        "Large populations are evolved",
        "≥ 500 individuals",
        unit="individuals",
        clause='Day 7, step 11: "Test with larger population sizes (500+)"',
        evidence="populations of growing size from 500, with time, memory and an audit of each",
    ),
    _later(
        "service_load",
        "The HTTP service stays quick and correct under load",
        "95th percentile and error rate under load",
        unit="ms",
        clause='Day 7, step 11: "Load testing and scalability validation"',
        evidence="latencies and errors from a load generator that is not itself saturated",
    ),
    _measured(
        "exposure",
        "Nothing gives a stranger anything, and no secret is written down",
        "nothing beyond this machine without authentication",
        clause='Pre-Deployment Checklist: "Network ports 8265, 10001, 8000, 5432, 6379, ..."',
        evidence="every listening socket of the stack tried without and with credentials, and a "
        "search of the run's files for secrets",
        verdict=exposure.exposure,
    ),
    _measured(
        "bad_input",
        "Bad input is refused with a clear error, and nothing is written",
        "every bad input refused",
        clause='Pre-Deployment Checklist: "Environment variables properly configured"',
        evidence="exit status, message and ledger after each of 16 kinds of bad input",
        verdict=operations.bad_input,
    ),
)
