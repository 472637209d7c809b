"""Every criterion of the gate as data: what is asked, where the plan asks it, what would show it.

Clauses quote the phase 1 plan ("Ray Cluster Scaling Implementation Plan", 2025-08-05). The ids are
final and the order is that of the report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from validation.criteria import (
    availability,
    cost,
    exposure,
    health,
    load,
    monitoring,
    network,
    operations,
    performance,
    resilience,
    stability,
)
from validation.verdict import VerdictFunction


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that must hold before Phase 2."""

    id: str
    statement: str
    """What must hold, in a sentence."""
    target: str
    """The number that it is held against, with its unit."""
    clause: str
    """Where the plan asks for it."""
    evidence_needed: str
    """The least that a PASS takes."""
    verdict: VerdictFunction
    unit: str = ""
    """Unit of the verdict's interval; empty when there is none."""
    rests_on: tuple[str, ...] = ()
    """Of a criterion of somebody's own: sources of ``validation.self_check`` whose doubt
    leaves it open. For those below, it is said there."""


_METRICS: Final = "Success Metrics & Validation Criteria"
_GO: Final = "Go/No-Go Criteria for Phase 2"


CRITERIA: Final[tuple[Criterion, ...]] = (
    Criterion(
        id="uptime",
        statement="The cluster is available for two days on end",
        target="≥ 99 % over ≥ 48 h",
        unit="%",
        clause=f'{_GO}: "Ray cluster maintains 99%+ uptime for 48+ hours"',
        evidence_needed="48 watched hours with few outages, from python -m validation soak",
        verdict=availability.uptime,
    ),
    Criterion(
        id="worker_recovery",
        statement="A killed worker node is replaced and its work redone",
        target="< 120 s",
        unit="s",
        clause=f'{_METRICS}: "ray_worker_failure_recovery_time ... Target: < 2 minutes"',
        evidence_needed="4 or more kills of a node, each with a confirmed receipt and all "
        "phases timed",
        verdict=resilience.worker_recovery,
    ),
    Criterion(
        id="dashboard",
        statement="Ray's dashboard answers",
        target="every request answered",
        unit="%",
        clause=f'{_METRICS}: "ray_dashboard_accessible"',
        evidence_needed="10 or more requests over 30 s, all through the work",
        verdict=health.dashboard,
    ),
    Criterion(
        id="cycle_completion",
        statement="Planned generations of distributed evolution are completed without a failed "
        "individual",
        target="≥ 95 %",
        unit="%",
        clause=f'{_METRICS}: "evolution_cycle_completion_rate ... Target: 95%+ success"',
        evidence_needed="59 planned generations without a failure, or 93 with one",
        verdict=performance.cycle_completion,
    ),
    Criterion(
        id="generation_time",
        statement="A distributed generation of at least 500 individuals is quick on average",
        target="< 300 s",
        unit="s",
        clause=f'{_METRICS}: "average_generation_time ... Target: < 5 minutes per generation"',
        evidence_needed="3 or more distributed generations of at least 500 individuals",
        verdict=performance.generation_time,
    ),
    Criterion(
        id="speedup",
        statement="The cluster evolves faster than one node of the same size",
        target="≥ 2.0×",
        unit="×",
        clause=f'{_GO}: "Genetic algorithm shows 2x+ performance improvement"',
        evidence_needed="3 or more pairs of equal work, local and distributed, interleaved in time",
        verdict=performance.speedup,
    ),
    Criterion(
        id="prometheus_collection",
        statement="Prometheus collects from the head and every node",
        target="every target up, sample ≤ 15 s old",
        unit="% of readings bad",
        clause=f'{_GO}: "All monitoring systems functional and collecting metrics"',
        evidence_needed="10 or more readings of every target, all through the work",
        verdict=health.prometheus_collection,
    ),
    Criterion(
        id="grafana_functional",
        statement="Grafana runs and every panel has data",
        target="every panel answers with data",
        clause=f'{_METRICS}: "grafana_dashboards_functional"',
        evidence_needed="a healthy Grafana, and every query of every panel asked through it",
        verdict=monitoring.grafana_functional,
    ),
    Criterion(
        id="container_stability",
        statement="Nothing restarts or ends that was not made to",
        target="0 unexpected restarts",
        unit="a day and service",
        clause=f'{_METRICS}: "docker_container_stability ... No unexpected restarts"',
        evidence_needed="10 readings over 30 s of which incarnation of every service runs, all "
        "through "
        "the work, and a receipt for each that changed",
        verdict=stability.container_stability,
    ),
    Criterion(
        id="cpu_efficiency",
        statement="Nodes use the CPU they are allotted while evaluating",
        target="> 70 %",
        unit="%",
        clause=f'{_METRICS}: "cpu_utilization_efficiency ... Target: > 70% utilization"',
        evidence_needed="CPU time of every node in 3 or more distributed workloads",
        verdict=performance.cpu_efficiency,
    ),
    Criterion(
        id="memory_stability",
        statement="Nothing runs out of memory and no node leaks",
        target="0 out-of-memory events, no leak",
        unit="MB/min",
        clause=f'{_METRICS}: "memory_usage_stability ... No out-of-memory errors"',
        evidence_needed="20 readings over 60 s of every node after its warm-up, with a known limit",
        verdict=health.memory_stability,
    ),
    Criterion(
        id="network_latency",
        statement="Nodes reach each other quickly",
        target="< 10 ms at the 99th percentile",
        unit="ms",
        clause=f'{_METRICS}: "network_latency_acceptable ... < 10ms inter-worker"',
        evidence_needed="299 or more round trips between every two nodes, in their own networks",
        verdict=network.network_latency,
    ),
    Criterion(
        id="cost_per_day",
        statement="A day in the cloud, 500 individuals evolved every 300 s, stays within the "
        "budget",
        target="< $30",
        unit="$",
        clause=f'{_GO}: "Resource utilization within expected parameters (< $30/day if cloud)"',
        evidence_needed="node-seconds of 3 or more distributed speed-up workloads, and a dated "
        "price",
        verdict=cost.cost_per_day,
    ),
    Criterion(
        id="no_data_loss",
        statement="No individual is lost, doubled or altered, whatever is killed",
        target="0 lost or doubled",
        unit="share of individuals",
        clause=f'{_GO}: "No critical failures or data loss during testing"',
        evidence_needed="an audit of every finished workload's ledger, a node killed during one "
        "of them",
        verdict=resilience.no_data_loss,
    ),
    Criterion(
        id="reproducibility",
        statement="The same seed gives the same history, local or distributed, whatever is killed",
        target="equal digests",
        unit="share of histories different",
        clause='Purpose of the plan: "computational scaling from single-machine to multi-worker '
        'distributed processing", which must not change results',
        evidence_needed="equal workloads: local, distributed, two sizes, one with a node killed",
        verdict=resilience.reproducibility,
    ),
    Criterion(
        id="alerting",
        statement="A planted fault fires its alert, and the alert clears",
        target="fires within 60 s of a node's kill, clears within 60 s of its return",
        clause='Day 5-6: "Configure alerting for cluster health and performance"',
        evidence_needed="what Alertmanager sent before, during and after a kill with a receipt",
        verdict=monitoring.alerting,
    ),
    Criterion(
        id="rollback",
        statement="A run finishes on one machine when the cluster is lost",
        target="finishes with an equal digest",
        clause='Rollback Strategy: "System continues operation without distributed benefits"',
        evidence_needed="a run whose head and nodes are killed, by receipt, with its audit",
        verdict=operations.rollback,
    ),
    Criterion(
        id="autoscaling",
        statement="The cluster grows under load and shrinks when idle",
        target="up and down within 120 s",
        clause='Day 7, step 12: "Confirm auto-scaling behavior"',
        evidence_needed="the nodes that the control service counts over a run that begins and ends",
        verdict=load.autoscaling,
    ),
    Criterion(
        id="preemption",
        statement="A node that is taken away with notice loses nothing",
        target="0 lost",
        clause='Cloud Deployment Scaling: "Spot instances for cost optimization"',
        evidence_needed="a drain with a deadline, seen by the control service, a kill by "
        "receipt, and an "
        "audit",
        verdict=load.preemption,
    ),
    Criterion(
        id="backup_restore",
        statement="The history can be restored from a backup",
        target="equal digest",
        clause='Operational Procedures: "Regular backup of genetic algorithm evolution results"',
        evidence_needed="one backup at rest and one while a run writes, restored, and damaged",
        verdict=operations.backup_restore,
    ),
    Criterion(
        id="population_load",
        statement="Large populations are evolved",
        target="≥ 500 individuals",
        unit="individuals",
        clause='Day 7, step 11: "Test with larger population sizes (500+)"',
        evidence_needed="populations of growing size from 500, with time, memory and an audit "
        "of each",
        verdict=load.population_load,
    ),
    Criterion(
        id="service_load",
        statement="The HTTP service stays quick and correct under load",
        target="p95 of reads ≤ 50 ms at 50 users, 0 lost",
        unit="ms",
        clause='Day 7, step 11: "Load testing and scalability validation"',
        evidence_needed="latencies and errors of 50 users from a generator that is not itself "
        "saturated, "
        "and a SIGKILL with accepted runs",
        verdict=load.service_load,
    ),
    Criterion(
        id="exposure",
        statement="Nothing gives a stranger anything, and no secret is written down",
        target="nothing beyond this machine without authentication",
        clause='Pre-Deployment Checklist: "Network ports 8265, 10001, 8000, 5432, 6379, ..."',
        evidence_needed="every listening socket of the stack tried without and with "
        "credentials, and a "
        "search of the run's files for secrets",
        verdict=exposure.exposure,
    ),
    Criterion(
        id="bad_input",
        statement="Bad input is refused with a clear error, and nothing is written",
        target="every bad input refused",
        clause='Pre-Deployment Checklist: "Environment variables properly configured"',
        evidence_needed="exit status, message and ledger after each of 16 kinds of bad input",
        verdict=operations.bad_input,
    ),
)
