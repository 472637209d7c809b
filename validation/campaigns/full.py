"""One campaign from its options to its pages: stack, workloads and faults, evidence, report."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

import fixtures
import reports
from fixtures.backends.attached import AttachedStack
from fixtures.protocols import StackError
from fixtures.system.launch import beside
from fixtures.system.termination import alongside
from validation.campaigns import attached
from validation.campaigns.progress import STAGES, Progress
from validation.evidence.log import FILE, EvidenceWriter, read_evidence
from validation.evidence.records import Environment, Note
from validation.extension import Ground
from validation.monitors.alert_webhook import Webhook
from validation.monitors.cluster import Outages, Watch
from validation.monitors.dashboards import ask_all
from validation.monitors.harness import Observe
from validation.pytest_plugin import OUT, decide_from, owns_of
from validation.run_folder import stamp, working
from validation.stages.container_exits import died
from validation.stages.environment import environment
from validation.stages.exposure import search, secrets_of, survey, withdraw
from validation.stages.fault_records import plant_alert
from validation.stages.network_latency import actor_round_trips, round_trips
from validation.stages.ray_evictions import evictions
from validation.stages.recovery_drills import Drills
from validation.stages.scaling import autoscale, preempt
from validation.stages.service_load import service_load
from validation.stages.workloads import FULL, SHORT, Campaign

NODES: Final = 4
CPUS_PER_NODE: Final = 0.4
STEADY_SECONDS: Final = 60.0


class BrokenOffError(Exception):
    """The stack failed in the middle of the campaign, where no fault of ours explains it."""


@contextmanager
def under_way() -> Generator[None]:
    """The stack is up: what it cannot do from here on is shown with where that was.

    Raises:
        BrokenOffError: for a ``StackError``.
    """
    try:
        yield
    except StackError as error:
        raise BrokenOffError(f"the campaign broke off: {error}") from error


def gather(config: pytest.Config) -> Path:
    """Run the campaign and write its report; the folder of both.

    Raises:
        StackError: the stack cannot be started, or the cluster of ``--address`` is not there.
        BrokenOffError: it failed later.
    """
    seed = config.getoption("--replay")
    if seed is None:
        seed = config.getoption("--seed")
    if seed is None:
        seed = secrets.randbelow(2**31)
    say = _speaker(config)
    run = f"{stamp()}-{seed}"
    folder = OUT / run
    scale = SHORT if config.getoption("--short") else FULL
    backend = config.getoption("--stack")
    theirs = _theirs(config)
    where = f"--stack={backend}" if theirs is None else f"--address {theirs.endpoints.ray}"
    replay = f"pytest -m validation {where} --replay {seed}"
    if scale is SHORT:
        replay += " --short"
    owns = owns_of(config)
    replay += "".join(f" --with {own.file}" for own in owns)
    say(f"seed {seed}; evidence goes to {folder}")
    progress = Progress(say, stages=STAGES if theirs is None else attached.STAGES)
    progress.begin("start")
    evidence = folder / FILE
    with (
        working(folder, keep=config.getoption("--keep-files")) as work,
        # Beside the stack's start: under a node's quota it would take minutes.
        beside([sys.executable, "-m", "ga", "compile"], stdout=subprocess.DEVNULL) as compiling,
        Webhook() as webhook,
        theirs
        or fixtures.start_stack(
            nodes=NODES,
            cpus_per_node=CPUS_PER_NODE,
            backend=backend,
            alert_webhook=webhook.url,
            on_progress=say,
        ) as stack,
        under_way(),
        # It makes the folder: a stack that could not be started leaves none.
        EvidenceWriter(
            evidence,
            run=run,
            seed=seed,
            backend=stack.backend,
            nodes=len(stack.nodes),
            cpus_per_node=CPUS_PER_NODE if theirs is None else theirs.cpus_per_node,
            replay=replay,
        ) as writer,
        Observe(stack, writer),
    ):
        work.mkdir()
        writer.add(Environment(values=environment()))
        outages = Outages()
        watch = Watch(stack, writer, outages)
        say("waiting for a steady state: every Prometheus target up")
        if not watch.steady(STEADY_SECONDS):
            writer.add(Note(text=f"not every target was up after {STEADY_SECONDS:.0f} s"))
        if compiling.wait():
            pytest.fail("the engine's kernels could not be compiled; see above", pytrace=False)

        def campaign_on(stack: fixtures.Stack, folder: Path) -> Campaign:
            return Campaign(
                stack, writer, seed=seed, scale=scale, folder=folder, outages=outages, say=say
            )

        campaign = campaign_on(stack, folder)
        drills = Drills(campaign, stack, writer, folder=work, say=say)
        if theirs is not None:
            attached.look(
                writer, watch, campaign, drills, times=scale.recoveries, progress=progress, say=say
            )
        else:
            # In a quiet moment, before anything is done.
            round_trips(stack, writer, say=say)
            actor_round_trips(stack, writer, say=say)
            survey(stack, writer, say=say)
            began = time.time()
            with watch, alongside() as aside:
                # The cluster has no work during the reference: its alert costs no time.
                alert = aside.submit(
                    plant_alert, stack, writer, outages, webhook, seed=seed, say=say
                )
                progress.begin("reference")
                campaign.reference(drills.back_up)
                alert.result()
                progress.begin("recoveries")
                campaign.recoveries()
                progress.begin("preemption")
                preempt(campaign, stack, writer, outages, say=say)
                progress.begin("populations")
                campaign.populations()
                for own in owns:
                    say(f"what {own.file} gathers")
                    own.gather(
                        Ground(
                            stack=stack,
                            writer=writer,
                            outages=outages,
                            folder=folder,
                            seed=seed,
                            say=say,
                        )
                    )
                if stack.endpoints.prometheus is not None:
                    say("every panel of every dashboard")
                    ask_all(
                        writer,
                        prometheus=stack.endpoints.prometheus,
                        grafana=os.environ.get("GA_GRAFANA_URL") or stack.endpoints.grafana,
                        since=began,
                    )
                progress.begin("speedup")
                campaign.speedup()
            evictions(stack.endpoints.prometheus, writer, since=began)
            for notification in webhook.notifications:
                writer.add(notification)
            died(stack, writer)
            for line in stack.unexpected_exits:
                # For the reader; container_stability judges what the watch saw.
                say(f"unexpected exit: {line}")
                writer.add(Note(text=f"unexpected exit: {line}"))
            # Afterwards there is no cluster; what follows needs none, or makes its own.
            progress.begin("rollback")
            with alongside() as aside:
                # Most of that is waiting. Beside the backup of a run they would make it late.
                refusals = aside.submit(drills.bad_input)
                drills.rollback()
                refusals.result()
            progress.begin("autoscaling")
            with alongside() as aside:
                # Reading two histories is work of the gate's own: not beside what it measures.
                restores = aside.submit(drills.restore)
                autoscale(writer, folder=work, say=say, make=campaign_on)
                restores.result()
            progress.begin("service")
            service_load(writer, folder=work, say=say)
            search(stack, writer, folder)
            told = secrets_of(stack.endpoints)
    pages = reports.write(decide_from(config, folder), [read_evidence(evidence)], folder, runs=OUT)
    if leaked := withdraw(pages, told):
        pytest.fail(
            f"a secret stood in pages, which were removed: {'; '.join(leaked)}", pytrace=False
        )
    return folder


def _theirs(config: pytest.Config) -> AttachedStack | None:
    """The cluster of ``--address``, found to be there; ``None`` when we start one of our own."""
    address = config.getoption("--address")
    dashboard, prometheus = config.getoption("--dashboard"), config.getoption("--prometheus")
    if address is None:
        if dashboard or prometheus:
            raise StackError("--dashboard and --prometheus need --address HOST:PORT")
        return None
    return AttachedStack(address, dashboard=dashboard, prometheus=prometheus)


def _speaker(config: pytest.Config) -> Callable[[str], None]:
    capture = config.pluginmanager.getplugin("capturemanager")
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        line = f"[{minutes:02}:{seconds:02}] {text}\n"
        if capture is None:
            sys.stderr.write(line)
            return
        with capture.global_and_fixture_disabled():
            sys.stderr.write(line)
            sys.stderr.flush()

    return say
