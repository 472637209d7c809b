"""Runs a campaign: a list of stages on a target. It knows neither pytest nor reports."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.protocols import Stack, StackError
from evolution_gate.fixtures.system.launch import background_process
from evolution_gate.fixtures.system.termination import alongside
from validation.campaigns.log import gathering
from validation.campaigns.progress import Progress
from validation.contract import CriterionPlugin, Stage
from validation.evidence.log import FILE, EvidenceWriter
from validation.evidence.records import Environment, Note
from validation.evidence.records_target import NotRun, StageRun
from validation.monitors.alert_webhook import Webhook
from validation.monitors.cluster import ClusterMonitor, ExcusedOutages
from validation.monitors.harness import HarnessMonitor
from validation.plugin_loading import digests_of
from validation.run_folder import working
from validation.stages.container_exits import record_container_exits
from validation.stages.context import Context
from validation.stages.environment import environment
from validation.stages.exposure import secrets_of
from validation.stages.ray_evictions import evictions
from validation.stages.registry import STAGES
from validation.stages.scale import Scale
from validation.targets import Target

_COMPILE: Final = (sys.executable, "-m", "ga", "compile")
STEADY_SECONDS: Final = 60.0
START_SECONDS: Final = 40.0
"""About how long a stack takes to start on two cores."""
_STARTING: Final = Stage(
    name="start", run=lambda _: None, feeds=("the stack",), seconds=START_SECONDS
)


class CampaignAbortedError(Exception):
    """The campaign cannot continue: the stack failed unexpectedly, with no fault, or the engine
    cannot be used.
    """


@dataclass(frozen=True, kw_only=True)
class Step:
    """One entry of a campaign: a stage, and others that run at the same time."""

    stage: str
    alongside: tuple[str, ...] = ()
    """Stages that run concurrently with it, in threads; the step ends when all have ended."""
    watched: bool = True
    """Whether the cluster monitor runs. Before, the cluster is quiet; afterwards it may be gone."""
    custom: bool = False
    """Whether the stages of custom criteria follow."""
    instead: str = ""
    """The stage that takes its place where the target lacks what it needs; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a campaign, besides its target and its steps."""

    seed: int
    run: str
    """Name of the run and of its folder."""
    folder: Path
    scale: Scale
    replay: str
    """Command that repeats the run, without the options of target and seed."""
    say: Callable[[str], None]
    """Progress, a line at a time."""
    plugins: tuple[CriterionPlugin, ...] = ()
    keep_files: bool = False
    """Whether ledgers and backups stay in the folder."""
    notes: tuple[str, ...] = ()
    """Written into the record at the beginning."""
    log: Path | None = None
    """Campaign log, in which the run was begun already; None: there is none."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """Result of a campaign."""

    evidence: Path
    secrets: dict[str, str]
    """Name -> value of secrets that no page may contain."""


@contextmanager
def fail_with_context() -> Generator[None]:
    """Convert errors of a running stack to the error that ends the campaign.

    Raises:
        CampaignAbortedError: for a ``StackError``.
    """
    try:
        yield
    except StackError as error:
        raise CampaignAbortedError(f"the campaign was aborted: {error}") from error


def run_campaign(target: Target, steps: Sequence[Step], options: Options) -> Gathered:
    """Run the steps in turn on the target, and close the record.

    Raises:
        ValueError: the watched steps do not follow one another.
        StackError: the stack cannot be started.
        CampaignAbortedError: it failed later, or the engine's kernels cannot be compiled.
    """
    if len([watched for watched, _ in groupby(steps, lambda step: step.watched) if watched]) > 1:
        # A monitor runs once: stages of a second stretch would run without it.
        raise ValueError("the watched steps of a campaign must follow one another")
    say, folder = options.say, options.folder
    steps, left_out = possible(target, steps)
    say(f"seed {options.seed}; evidence goes to {folder}")
    progress = Progress(say, stages=[_STARTING, *(STAGES[step.stage] for step in steps)])
    progress.begin(_STARTING.name)
    evidence = folder / FILE
    with (
        working(folder, keep=options.keep_files) as work,
        # While the stack starts: under a node's quota it would take minutes.
        background_process(_COMPILE, stdout=subprocess.DEVNULL) as compiling,
        _webhook(target) as webhook,
        target.start(alert_webhook=webhook.url, say=say) as reached,
        fail_with_context(),
        # The writer makes the folder: a stack that could not be started leaves none.
        EvidenceWriter(
            evidence,
            run=options.run,
            seed=options.seed,
            backend=reached.backend,
            nodes=len(reached.nodes),
            cpus_per_node=target.cpus_per_node,
            replay=options.replay,
        ) as writer,
        # Left before the evidence is closed: it tells what was undone.
        target.guarded(reached, add=writer.add, say=say) as stack,
        HarnessMonitor(stack, writer),
    ):
        if options.log is not None:
            gathering(options.log, options.run, writer.system)
        work.mkdir()
        webhook.translate(names_of(stack))
        notes = [Note(text=note) for note in options.notes]
        for record in (_environment(options), *target.records, *left_out, *notes):
            writer.add(record)
        outages = ExcusedOutages()
        watch = ClusterMonitor(stack, writer, outages)
        say("waiting for a steady state: every Prometheus target up")
        if not watch.steady(STEADY_SECONDS):
            writer.add(Note(text=f"not every target was up after {STEADY_SECONDS:.0f} s"))
        if compiling.wait():
            raise CampaignAbortedError("the engine's kernels could not be compiled; see above")
        context = Context(
            stack=stack,
            writer=writer,
            outages=outages,
            folder=folder,
            work=work,
            seed=options.seed,
            scale=options.scale,
            say=say,
            webhook=webhook,
        )
        with ExitStack() as watching:
            on = done = False
            for step in steps:
                if step.watched and not on:
                    watching.enter_context(watch)
                    on = True
                elif on and not step.watched and not done:
                    watching.close()
                    done = True
                    _ended(context, webhook)
                progress.begin(step.stage)
                _run(step, context)
                if step.custom:
                    _custom(options.plugins, context, target)
        if on and not done:
            _ended(context, webhook)
        return Gathered(evidence=evidence, secrets=secrets_of(stack.endpoints))


def _environment(options: Options) -> Environment:
    facts = {"workload": options.scale.workload, **digests_of(options.plugins)}
    return Environment(values={**environment(), **facts})


def _webhook(target: Target) -> Webhook:
    host, port = target.listens
    try:
        return Webhook(host, port)
    except OSError as error:
        raise StackError(
            f"--alert-webhook {host}:{port}: {error.strerror}; name a free port of this machine"
        ) from None


def names_of(stack: Stack) -> Callable[[str], str]:
    """From the label ``node`` of an alert to the name of a node, which a deployed target labels
    with its address. The latest owner of an address counts.
    """
    known: dict[str, str] = {}

    def name_of(label: str) -> str:
        known.update({node.address: node.name for node in stack.nodes})
        return known.get(label, label)

    return name_of


def possible(target: Target, steps: Sequence[Step]) -> tuple[list[Step], list[NotRun]]:
    """The steps that the target is capable of, and the stages that are left out."""
    found: list[Step] = []
    left_out: list[NotRun] = []

    def fits(name: str) -> bool:
        lacks = not_run(target, STAGES[name])
        left_out.extend([] if lacks is None else [lacks])
        return lacks is None

    for step in steps:
        alongside = tuple(name for name in step.alongside if fits(name))
        if fits(step.stage):
            found.append(replace(step, alongside=alongside))
            continue
        names = [*([step.instead] if step.instead else ()), *alongside]
        if names:
            found.append(replace(step, stage=names[0], alongside=tuple(names[1:])))
    return found, left_out


def _run(step: Step, context: Context) -> None:
    """Run the stage in this thread, and the concurrent ones in other threads."""
    if not step.alongside:
        _timed(STAGES[step.stage], context)
        return
    with alongside() as pool:
        others = [pool.submit(_timed, STAGES[name], context) for name in step.alongside]
        _timed(STAGES[step.stage], context)
        for other in others:
            other.result()


def _timed(stage: Stage, context: Context) -> None:
    """Run a stage, and record how long it took."""
    began = time.time()
    stage.run(context)
    context.add(
        StageRun(stage=stage.name, criteria=stage.feeds, started_at=began, finished_at=time.time())
    )


def _custom(plugins: Sequence[CriterionPlugin], context: Context, target: Target) -> None:
    for plugin in plugins:
        for stage in plugin.stages:
            if lacks := not_run(target, stage):
                context.add(lacks)
                continue
            context.say(f"stage {stage.name} of {plugin.argument}")
            _timed(stage, context)


def not_run(target: Target, stage: Stage) -> NotRun | None:
    """Why a stage is left out on the target; None: it is run."""
    missing = {str(kind): why for kind, why in target.lacks(stage).items()}
    return NotRun(stage=stage.name, criteria=stage.feeds, missing=missing) if missing else None


def _ended(context: Context, webhook: Webhook) -> None:
    """Monitoring has ended: record what the webhook and other counters received in the meantime."""
    stack, writer = context.stack, context.writer
    evictions(stack.endpoints.prometheus, writer, since=context.began)
    for notification in webhook.notifications:
        writer.add(notification)
    record_container_exits(stack, writer)
    for line in stack.unexpected_exits:
        # For the reader only; container_stability judges the monitor's readings.
        context.say(f"unexpected exit: {line}")
        writer.add(Note(text=f"unexpected exit: {line}"))
