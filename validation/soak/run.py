"""``python -m validation soak``: start, resume and end a soak."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evolution_gate.fixtures.system.launch import beside
from evolution_gate.fixtures.system.termination import undisturbed
from ga.errors import InputError
from validation.campaigns.log import gathering, log_of, logged
from validation.campaigns.run import STEADY_SECONDS
from validation.evidence.identity import facts_of
from validation.evidence.log import Evidence
from validation.evidence.records import Environment, Gap, Note
from validation.evidence.records_monitoring import StartUp
from validation.run_folder import OUT, stamp
from validation.soak.forecast import Live
from validation.soak.loop import evidence_size, run
from validation.soak.segments import (
    MANIFEST,
    MOST_FAULTS,
    MOST_HOURS,
    Folder,
    Plan,
    Segments,
    locked,
    read_soak,
    sealed,
)
from validation.soak.simulated_world import DEFECTS, Clock, SimulatedWorld
from validation.stages.environment import environment
from validation.targets import CPUS_PER_NODE, NODES

if TYPE_CHECKING:
    from evolution_gate.fixtures.protocols import Stack

_SIMULATED_START: Final = 1_760_000_000.0
_SIMULATED_ABSENCE_S: Final = 600.0
_STARTS: Final = 2
"""Attempts to start the stack."""
_TELL_S: Final = 600.0
"""Seconds between lines of progress without a terminal."""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("--hours", required=True, type=float, help="watched hours to gather")
    parser.add_argument(
        "--resume", action="store_true", help="continue the soak in --out, or the newest one"
    )
    parser.add_argument(
        "--faults", type=float, default=None, metavar="RATE", help="kills of a node an hour (0)"
    )
    parser.add_argument(
        "--stack",
        choices=["auto", "processes", "containers"],
        help="what nodes are (default: auto, containers where there is an engine with the images)",
    )
    parser.add_argument("--seed", type=int, default=None, help="fixes workloads and faults")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder of the soak (default: {OUT}/soak-...)"
    )
    parser.add_argument(
        "--simulate",
        nargs="?",
        const="healthy",
        choices=DEFECTS,
        help="no stack and a clock that does not wait: for tests of the gate",
    )


def soak(options: argparse.Namespace) -> Path:
    """Run one soak to its end and return its folder.

    The campaign log next to the folder says that it begins. Whoever judges it writes its end.

    Raises:
        InputError: an option is out of range, or does not fit the soak that is resumed.
        EvidenceError: there is nothing to resume, it is damaged, or another process runs it.
    """
    folder = _resumed(options) if options.resume else _new(options)
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
                _watch_stack(start)
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


def _new(options: argparse.Namespace) -> Folder:
    _check(options)
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    name = f"soak-{stamp()}-{seed}"
    path = options.out or OUT / name
    if (path / MANIFEST).exists():
        raise InputError(f"--out {path} holds a soak already; add --resume or name another folder")
    faults = options.faults or 0.0
    backend = "simulated" if options.simulate else (options.stack or "auto")
    replay = (
        f"python -m validation soak --hours {options.hours:g} --faults {faults:g} --seed {seed}"
    )
    replay += f" --simulate {options.simulate}" if options.simulate else f" --stack {backend}"
    path.mkdir(parents=True, exist_ok=True)
    return Folder(
        path=path,
        plan=Plan(
            name=name,
            seed=seed,
            hours=options.hours,
            faults=faults,
            backend=backend,
            nodes=NODES,
            cpus_per_node=CPUS_PER_NODE,
            replay=replay,
        ),
    ).save()


def _resumed(options: argparse.Namespace) -> Folder:
    _check(options)
    path = options.out
    if path is None:
        there = sorted(OUT.glob(f"soak-*/{MANIFEST}"), key=lambda file: file.stat().st_mtime)
        if not there:
            raise InputError(f"--resume: no soak in {OUT}; start one without --resume")
        path = there[-1].parent
    folder = Folder.load(path)
    plan = folder.plan
    asked = {"--seed": (options.seed, plan.seed), "--faults": (options.faults, plan.faults)}
    for name, (now, then) in asked.items():
        if now is not None and now != then:
            raise InputError(f"{name} {now:g}: the soak in {path} was begun with {then:g}; omit it")
    if bool(options.simulate) != (plan.backend == "simulated"):
        raise InputError(f"--simulate: the soak in {path} has backend {plan.backend}")
    if options.stack not in (None, plan.backend):
        raise InputError(f"--stack {options.stack}: the soak in {path} has {plan.backend}; omit it")
    return replace(folder, plan=replace(plan, hours=options.hours))


def _check(options: argparse.Namespace) -> None:
    if not (math.isfinite(options.hours) and 0 < options.hours <= MOST_HOURS):
        raise InputError(f"--hours must be above 0 and at most {MOST_HOURS:g}, not {options.hours}")
    faults = options.faults
    if faults is not None and not (math.isfinite(faults) and 0 <= faults <= MOST_FAULTS):
        raise InputError(f"--faults must be 0 to {MOST_FAULTS:g} an hour, not {faults}")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise InputError(f"--seed must be 0 to 2^63 - 1, not {options.seed}")


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
        go(lambda tell: run(segments, world, live, tell))


def _watch_stack(start: _Start) -> None:
    # Imported here: neither a verdict nor a simulation needs the engine or a stack.
    from evolution_gate import fixtures

    plan = start.folder.plan
    _say(f"seed {plan.seed}; evidence goes to {start.folder.path}")
    asked_at, failed = time.time(), list[str]()

    def started() -> Stack:
        while True:
            try:
                return fixtures.start_stack(
                    nodes=plan.nodes,
                    cpus_per_node=plan.cpus_per_node,
                    backend=plan.backend,
                    on_progress=_say,
                )
            except fixtures.StackError as error:
                failed.append(str(error).splitlines()[0])
                if len(failed) >= _STARTS:
                    raise
                _say(f"the stack did not start, and is started again: {failed[-1]}")

    try:
        with (
            beside([sys.executable, "-m", "ga", "compile"], stdout=subprocess.DEVNULL) as compiling,
            started() as stack,
        ):
            up = StartUp(asked_at=asked_at, up_at=time.time(), steady_at=None, failed=tuple(failed))
            if compiling.wait():
                raise InputError("the engine's kernels could not be compiled; see above")
            _gather(start, stack, up)
    except fixtures.StackError as error:
        raise InputError(f"--stack {plan.backend}: {error}") from error


def _gather(start: _Start, stack: Stack, up: StartUp) -> None:
    from validation.monitors.cluster import ClusterMonitor, ExcusedOutages
    from validation.monitors.harness import HarnessMonitor
    from validation.monitors.jobs import JobMonitor
    from validation.soak.stack_world import EVERY, OBSERVE_S, PERIOD_S, StackWorld

    live, plan = start.live, start.folder.plan
    logs = start.folder.path / "logs"
    logs.mkdir(exist_ok=True)
    segments = Segments(
        folder=replace(start.folder, plan=replace(plan, backend=stack.backend)),
        heard=live.hear,
        environment=Environment(values=environment()),
    )
    outages = ExcusedOutages()
    watch = ClusterMonitor(stack, segments, outages, period=PERIOD_S, every=EVERY)
    jobs = JobMonitor(stack, segments)
    steady = watch.steady(STEADY_SECONDS)
    answered = jobs.steady(STEADY_SECONDS)
    world = StackWorld(stack, segments, live, folder=logs, outages=outages, say=_say)
    # Not earlier: the time until the first probe is unwatched.
    _begin(segments, start.gap(time.time()))
    segments.add(replace(up, steady_at=time.time()) if answered else up)
    if not steady:
        segments.add(Note(text=f"not every target was up after {STEADY_SECONDS:.0f} s"))
    observing = HarnessMonitor(stack, segments, period=OBSERVE_S)
    with _ending(segments, live) as go, observing, jobs, watch:
        if not live.workloads:
            world.reference()
        go(lambda tell: run(segments, world, live, tell))
        for line in stack.unexpected_exits:
            _say(f"unexpected exit: {line}")
            segments.add(Note(text=f"unexpected exit: {line}"))


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
