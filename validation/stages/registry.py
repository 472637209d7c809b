"""The built-in stages by name. A stage gathers evidence; it decides nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from types import MappingProxyType
from typing import Final

from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.fixtures.protocols import StackError
from validation.contract import Stage
from validation.criteria.registry import OWN_STAGES
from validation.evidence.queries import OWN_STACKS
from validation.evidence.records import Note
from validation.monitors.dashboards import ask_all
from validation.mutation.injectors import WATCH_SECONDS
from validation.stages.alerting import alert_at_work, await_head_alert, plant_alert
from validation.stages.context import Context
from validation.stages.exposure import search, survey
from validation.stages.network_latency import actor_round_trips, round_trips
from validation.stages.node_price import node_price
from validation.stages.safety_drill import drill
from validation.stages.scaling import autoscale, preempt
from validation.stages.service_load import service_load
from validation.stages.workloads import WORKLOAD_SECONDS

_CLUSTER_S: Final = 60.0
"""Minimum seconds of cluster work, also on a quick cluster, so that enough readings are taken."""


def _network(context: Context) -> None:
    round_trips(context.stack, context.writer, say=context.say)


def _actors(context: Context) -> None:
    actor_round_trips(context.stack, context.writer, say=context.say)


def _sockets(context: Context) -> None:
    survey(context.stack, context.writer, say=context.say)


def _sockets_at_work(context: Context) -> None:
    workloads = context.workloads
    with workloads.endless("sockets-at-work") as evolve:
        if evolve.wait_ready(WORKLOAD_SECONDS):
            survey(context.stack, context.writer, say=context.say, during=evolve)
        else:
            context.add(Note(text="sockets at work were not surveyed: no evolution became ready"))
    # The one above has no end, so that its history cannot be compared.
    workloads.undisturbed()


def _secrets(context: Context) -> None:
    search(context.stack, context.writer, context.folder)


def _alert(context: Context) -> None:
    if context.webhook is None:
        context.add(Note(text="alerting was not tested: nothing receives the stack's alerts"))
        return
    plant_alert(
        context.stack,
        context.writer,
        context.outages,
        context.webhook,
        seed=context.seed,
        say=context.say,
    )


def _alerts_at_work(context: Context) -> None:
    if context.webhook is None:
        context.add(Note(text="alerting was not tested: nothing receives the stack's alerts"))
        return
    alert_at_work(
        context.stack,
        context.writer,
        context.webhook,
        context.workloads,
        seed=context.seed,
        say=context.say,
    )


def _head_alert(context: Context) -> None:
    killed = context.drills.head_kill
    if context.webhook is None or killed is None or context.stack.endpoints.alertmanager is None:
        context.add(Note(text="the alert of a lost head was not tested"))
        return
    if context.stack.backend not in OWN_STACKS:
        context.add(Note(text="the alert of a lost head was not tested: it was replaced before"))
        return
    await_head_alert(killed, context.writer, context.webhook)


def _backup(context: Context) -> None:
    context.workloads.reference(context.drills.back_up)


def _cluster(context: Context) -> None:
    """Repeat the evolution on the cluster as often as in ``recovery``, for a minute at least."""
    context.add(node_price())
    began = time.monotonic()
    for done in count(1):
        context.workloads.undisturbed()
        if done >= context.scale.recoveries and time.monotonic() - began >= _CLUSTER_S:
            return


def _panels(context: Context) -> None:
    ends = context.stack.endpoints
    if ends.prometheus is not None:
        context.say("every panel of every dashboard")
        grafana = os.environ.get("GA_GRAFANA_URL") or ends.grafana
        nodes = None
        if context.stack.backend in OWN_STACKS:
            # A deployed cluster has nodes without CPUs besides, which panels count.
            with suppress(StackError):
                nodes = len(context.stack.alive_nodes())
        ask_all(
            context.writer,
            prometheus=ends.prometheus,
            grafana=grafana,
            since=context.began,
            nodes=nodes,
            engine=ends.engine_metrics_port is not None,
        )


def _service(context: Context) -> None:
    service_load(context.writer, folder=context.work or context.folder, say=context.say)


STAGES: Final[Mapping[str, Stage]] = MappingProxyType(
    {
        stage.name: stage
        for stage in (
            *OWN_STAGES,
            Stage(
                name="network",
                feeds=("network_latency",),
                run=_network,
                needs=(Capability.NETWORKS,),
                seconds=8.0,
            ),
            Stage(name="actors", feeds=("network_latency",), run=_actors, seconds=35.0),
            Stage(
                name="sockets",
                feeds=("exposure",),
                run=_sockets,
                needs=(Capability.SOCKETS,),
                seconds=8.0,
            ),
            Stage(
                name="sockets at work",
                feeds=("exposure", "reproducibility"),
                run=_sockets_at_work,
                needs=(Capability.SOCKETS,),
                seconds=35.0,
            ),
            Stage(
                name="secrets",
                feeds=("exposure",),
                run=_secrets,
                needs=(Capability.LOGS,),
                seconds=2.0,
            ),
            Stage(
                name="reference",
                feeds=("reproducibility",),
                run=lambda context: context.workloads.reference(),
                seconds=95.0,
            ),
            Stage(
                name="backup",
                feeds=("reproducibility", "backup_restore"),
                run=_backup,
                seconds=95.0,
            ),
            Stage(
                name="alert",
                feeds=("alerting",),
                run=_alert,
                needs=(Capability.ALERTS, Capability.KILL_NODE, Capability.PARTITION),
                seconds=130.0,
            ),
            Stage(
                name="alerts at work",
                feeds=("alerting",),
                run=_alerts_at_work,
                needs=(Capability.ALERTS, Capability.KILL_WORKER, Capability.SERVICE),
                seconds=70.0,
            ),
            Stage(
                name="head alert",
                feeds=("alerting",),
                run=_head_alert,
                after=("rollback",),
                needs=(
                    Capability.ALERTS,
                    Capability.HEAD,
                ),
                seconds=15.0,
            ),
            Stage(
                name="cluster",
                feeds=(
                    *("reproducibility", "no_data_loss", "cycle_completion", "cost_per_day"),
                    *("generation_time", "memory_stability", "dashboard"),
                    *("prometheus_collection", "container_stability"),
                ),
                run=_cluster,
                seconds=60.0,
            ),
            Stage(
                name="recovery",
                feeds=("worker_recovery", "no_data_loss", "cycle_completion", "generation_time"),
                run=lambda context: context.workloads.recoveries(),
                needs=(Capability.KILL_NODE,),
                seconds=170.0,
            ),
            Stage(
                name="preemption",
                feeds=("preemption",),
                run=preempt,
                after=("backup",),
                needs=(
                    Capability.DRAIN,
                    Capability.KILL_NODE,
                ),
                seconds=40.0,
            ),
            Stage(
                name="population",
                feeds=("population_load",),
                run=lambda context: context.workloads.populations(),
                seconds=45.0,
            ),
            Stage(
                name="panels",
                feeds=("grafana_functional",),
                run=_panels,
                seconds=5.0,
                after=("cluster",),
            ),
            Stage(
                name="speedup",
                feeds=("speedup", "cpu_efficiency", "cost_per_day"),
                run=lambda context: context.workloads.speedup(),
                needs=(Capability.LIMITS,),
                seconds=190.0,
            ),
            Stage(
                name="rollback",
                feeds=("rollback",),
                run=lambda context: context.drills.rollback(),
                after=("backup",),
                needs=(Capability.CLUSTER,),
                seconds=45.0,
            ),
            Stage(
                name="bad input",
                feeds=("bad_input",),
                run=lambda context: context.drills.bad_input(),
                seconds=30.0,
            ),
            Stage(
                name="autoscaling",
                feeds=("autoscaling",),
                run=autoscale,
                after=("backup",),
                needs=(Capability.AUTOSCALER,),
                seconds=60.0,
            ),
            Stage(
                name="restore",
                feeds=("backup_restore",),
                run=lambda context: context.drills.restore(),
                after=("backup",),
                seconds=30.0,
            ),
            Stage(name="service", feeds=("service_load",), run=_service, seconds=60.0),
            Stage(
                name="safety",
                feeds=("container_stability",),
                run=drill,
                needs=(Capability.KILL_NODE, Capability.PAUSE),
                seconds=60.0,
            ),
            Stage(
                name="watch",
                feeds=("prometheus_collection", "container_stability", "dashboard"),
                run=lambda _: time.sleep(WATCH_SECONDS),
                seconds=WATCH_SECONDS,
            ),
        )
    }
)
