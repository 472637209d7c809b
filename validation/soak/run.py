"""``python -m validation soak``: start, resume and end a soak."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evolution_gate.fixtures.protocols import StackError
from evolution_gate.fixtures.system.launch import background_process
from evolution_gate.fixtures.system.termination import undisturbed
from ga.errors import InputError
from validation.campaigns.log import gathering, log_of, logged
from validation.campaigns.run import STEADY_SECONDS
from validation.evidence.identity import facts_of
from validation.evidence.log import Evidence
from validation.evidence.records import Environment, Gap, Note
from validation.evidence.records_monitoring import StartUp
from validation.safety.guard import GuardError
from validation.soak.forecast import Live
from validation.soak.loop import evidence_size, run
from validation.soak.options import folder_of, target_of_plan
from validation.soak.segments import (
    EVERY_S,
    Folder,
    Plan,
    Segments,
    locked,
    read_soak,
    sealed,
)
from validation.soak.simulated_world import Clock, SimulatedWorld
from validation.stages.environment import environment
from validation.targets import Target

if TYPE_CHECKING:
    from evolution_gate.fixtures.protocols import Stack

_COMPILE: Final = (sys.executable, "-m", "ga", "compile")
_SIMULATED_START: Final = 1_760_000_000.0
_SIMULATED_ABSENCE_S: Final = 600.0
_STARTS: Final = 2
"""Attempts to start the stack."""
_TELL_S: Final = 600.0
"""Seconds between lines of progress without a terminal."""


def soak(options: argparse.Namespace) -> Path:
    """Run one soak to its end and return its folder.

    The campaign log next to the folder says that it begins. The command that judges it
    writes its end.

    Raises:
        InputError: an option is out of range, or does not fit the soak that is resumed.
        EvidenceError: there is nothing to resume, it is damaged, or another process runs it.
    """
    folder = folder_of(options)
    lock, plan = locked(folder.path), folder.plan
    facts = {} if options.simulate else facts_of(environment())
    try:
        with logged(
            log_of(folder.path),
            plan.name,
            evidence=folder.path,
            command=plan.replay,
            system={"nodes": plan.nodes, "cpus_per_node": plan.cpus_per_node, **facts},
        ):
            start = _Start.of(folder)
            if options.simulate:
                _simulate(start, options)
            else:
                _watch(start)
    finally:
        os.close(lock)
    return folder.path


@dataclass(frozen=True, kw_only=True)
class _Start:
    """State from which a soak begins or continues."""

    folder: Folder
    live: Live
    last: float | None
    """Time of the last event so far."""
    reason: str

    @classmethod
    def of(cls, folder: Folder) -> _Start:
        live = Live(plan=folder.plan)
        if not folder.segments:
            return cls(folder=folder, live=live, last=None, reason="")
        reason = "the soak was stopped" if folder.finished else "the soak was killed"
        if folder.segments[-1][1] is None:
            folder = sealed(folder)
        before: Evidence = read_soak(folder.path)
        for event in before.events:
            live.hear(event.at, event.record)
        if before.events:
            live.judge(replace(before, closed=True))
        last = before.events[-1].at if before.events else None
        return cls(folder=folder, live=live, last=last, reason=reason)

    def gap(self, now: float) -> Gap | None:
        """The gap between the last event and now; ``None`` in a new soak."""
        if not self.folder.segments:
            return None
        return Gap(begin=now if self.last is None else self.last, end=now, reason=self.reason)


def _simulate(start: _Start, options: argparse.Namespace) -> None:
    live = start.live
    at = _SIMULATED_START if start.last is None else start.last + _SIMULATED_ABSENCE_S
    clock = Clock(at=at)
    segments = Segments(folder=start.folder, clock=clock, heard=live.hear)
    _begin(segments, start.gap(clock.at))
    world = SimulatedWorld(
        segments=segments, clock=clock, defect=options.simulate, workloads=live.workloads
    )
    world.started()
    with _ending(segments, live) as go:
        if not live.workloads:
            world.reference()
        go(lambda report: run(segments, world, live, report))


def _watch(start: _Start) -> None:
    plan = start.folder.plan
    target = target_of_plan(plan)
    _say(f"seed {plan.seed}; evidence goes to {start.folder.path}")
    pace = f"an evolution every {plan.every_s or EVERY_S:g} s, {plan.faults:g} kills an hour"
    _say(f"{target.name}: {pace}")
    asked_at, failed = time.time(), list[str]()
    try:
        with (
            # While the stack starts: under a node's quota it would take minutes.
            background_process(_COMPILE, stdout=subprocess.DEVNULL) as compiling,
            _started(target, failed) as stack,
        ):
            up = StartUp(asked_at=asked_at, up_at=time.time(), steady_at=None, failed=tuple(failed))
            if compiling.wait():
                raise InputError("the engine's kernels could not be compiled; see above")
            _gather(start, target, stack, up)
    except StackError as error:
        raise InputError(f"{target.option}: {error}") from error


@contextmanager
def _started(target: Target, failed: list[str]) -> Iterator[Stack]:
    """The running stack; ``failed`` receives why it did not start at first."""
    with ExitStack() as running:
        while True:
            try:
                stack = running.enter_context(target.start(alert_webhook=None, say=_say))
                break
            except StackError as error:
                failed.append(str(error).splitlines()[0])
                if len(failed) >= _STARTS:
                    raise
                _say(f"the stack did not start, and is started again: {failed[-1]}")
        yield stack


def _gather(start: _Start, target: Target, stack: Stack, up: StartUp) -> None:
    from validation.monitors.cluster import ClusterMonitor, ExcusedOutages
    from validation.monitors.harness import HarnessMonitor
    from validation.monitors.jobs import JobMonitor
    from validation.soak.stack_world import EVERY, OBSERVE_S, PERIOD_S, StackWorld

    live, plan = start.live, _found(start, target, stack)
    logs = start.folder.path / "logs"
    logs.mkdir(exist_ok=True)
    live.plan = plan
    segments = Segments(
        folder=replace(start.folder, plan=plan),
        heard=live.hear,
        first=(Environment(values=environment()), *target.records),
    )
    outages = ExcusedOutages()
    watch = ClusterMonitor(stack, segments, outages, period=PERIOD_S, every=EVERY)
    jobs = JobMonitor(stack, segments)
    steady = watch.steady(STEADY_SECONDS)
    answered = jobs.steady(STEADY_SECONDS)
    # Not earlier: the time until the first probe is unwatched.
    _begin(segments, start.gap(time.time()))
    segments.add(replace(up, steady_at=time.time()) if answered else up)
    if not steady:
        segments.add(Note(text=f"not every target was up after {STEADY_SECONDS:.0f} s"))
    observing = HarnessMonitor(stack, segments, period=OBSERVE_S)
    with (
        _ending(segments, live) as go,
        # Left before the segment is sealed: it tells what was undone.
        target.guarded(stack, add=segments.add, say=_say) as safe,
        observing,
        jobs,
        watch,
    ):
        world = StackWorld(safe, segments, live, folder=logs, outages=outages, say=_say)
        if not live.workloads:
            world.reference()
        go(lambda report: run(segments, world, live, report))
        for line in stack.unexpected_exits:
            _say(f"unexpected exit: {line}")
            segments.add(Note(text=f"unexpected exit: {line}"))


def _found(start: _Start, target: Target, stack: Stack) -> Plan:
    """The plan with what the target is.

    Raises:
        InputError: see ``require_same``.
    """
    plan = replace(
        start.folder.plan,
        backend=stack.backend,
        nodes=len(stack.nodes),
        cpus_per_node=target.cpus_per_node,
    )
    require_same(start.folder, plan, name=target.name)
    return plan


def require_same(folder: Folder, found: Plan, *, name: str) -> None:
    """Check that a soak continues on the system that it was begun on.

    Args:
        found: The plan with the shape of the target that is there now.
        name: Of the target.

    Raises:
        InputError: the soak has segments of another number or size of nodes.
    """
    then = folder.plan
    if folder.segments and found != then:
        raise InputError(
            f"--resume: the soak was begun on {then.nodes} nodes of {then.cpus_per_node:g} CPU"
            f" ({then.backend}), and {name} has {found.nodes} of {found.cpus_per_node:g}"
            f" ({found.backend}); restore these, or begin a new soak"
        )


def _begin(segments: Segments, gap: Gap | None) -> None:
    segments.begin(gap)
    plan = segments.folder.plan
    gathering(log_of(segments.folder.path), plan.name, {"backend": plan.backend})


@contextmanager
def _ending(
    segments: Segments, live: Live
) -> Iterator[Callable[[Callable[[Callable[[str], None]], str]], None]]:
    """Seal the last segment when the soak ends in order, or is asked to by a signal.

    After any other error the segment stays open, as after a kill, because events may be missing.
    """
    why = "stopped"
    progress = _Progress()

    def go(task: Callable[[Callable[[str], None]], str]) -> None:
        nonlocal why
        why = task(progress)

    try:
        yield go
    except KeyboardInterrupt:
        why = "stopped by a signal"
    except GuardError as error:
        why = f"stopped by the guard: {error}"
    with undisturbed():
        segments.add(Note(text=f"the soak ended: {why}"))
        segments.finish()
    _say(f"{why}; {live.words(segments.clock(), evidence_size(segments))}")


class _Progress:
    """Shows the newest line: over the last one on a terminal, else every ten minutes."""

    def __init__(self) -> None:
        self._told = -math.inf

    def __call__(self, line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        elif time.monotonic() >= self._told + _TELL_S:
            self._told = time.monotonic()
            _say(line)


def _say(line: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{clear}{line}\n")
    sys.stderr.flush()
