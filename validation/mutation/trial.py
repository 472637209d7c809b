"""Program that runs in a copy of the tree: one stack, and on it one mutant after the other."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from evolution_gate import fixtures
from evolution_gate.fixtures import Stack
from evolution_gate.fixtures.system import termination
from validation.certificates import HEALTHY, Certificate, append
from validation.code_hashes import code_hash, criterion_hash, engine_hash
from validation.contract import Injector, Mutant, SourcePatch
from validation.criteria.registry import MUTANTS, OWN_STAGES
from validation.decision import decide
from validation.evidence.log import EvidenceWriter, read_evidence
from validation.evidence.records import Environment
from validation.monitors.alert_webhook import Webhook
from validation.monitors.cluster import ClusterMonitor, ExcusedOutages
from validation.monitors.harness import HarnessMonitor
from validation.soak import options as soak_options
from validation.soak import read_soak
from validation.soak import run as soak_command
from validation.stages.context import Context
from validation.stages.environment import environment
from validation.stages.registry import STAGES
from validation.stages.scale import Scale
from validation.verdict import Status

_ROOT: Final = Path(__file__).resolve().parents[2]
_NODES, _CPUS, _SEED = 4, 0.4, 1
_SCALE: Final = Scale(pairs=3, recoveries=1, speedup=(500, 6), evolution=(700, 28))
_STEADY_SECONDS: Final = 90.0
_SOAK: Final = "soak"
"""The only simulated stage, which needs no stack."""
_LAST: Final = "rollback"
STAGE_ORDER: Final = (
    *(
        "bad input",
        "reference",
        "backup",
        "restore",
        "recovery",
        "speedup",
        "watch",
        "panels",
        "safety",
    ),
    *(
        "alert",
        "alerts at work",
        _SOAK,
        "network",
        "sockets",
        "sockets at work",
        "secrets",
        "preemption",
        "population",
        *(stage.name for stage in OWN_STAGES),
    ),
    *("autoscaling", "service", _LAST),
)
"""Stages for the healthy system; the last one ends its cluster."""


def main(argv: Sequence[str]) -> int:
    """``trial CERTIFICATES SECONDS STACK CRITERION:DEFECT...``: the healthy one (``none``) first.

    After SECONDS no new trial is started.
    """
    path, seconds, backend, names = Path(argv[0]), float(argv[1]), argv[2], argv[3:]
    if _ROOT in (Path.cwd().resolve(), *Path.cwd().resolve().parents) and not _copied():
        raise SystemExit("trial: defects are planted in a copy only; use validation certify")
    began = time.monotonic()
    # Kept from now on: while a mutant is planted, the code has another hash.
    code_hash()
    engine_hash()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"[{minutes:02}:{seconds:02}] {text}", file=sys.stderr, flush=True)

    defects = [d for d in MUTANTS if f"{d.criterion}:{d.name}" in names]
    healthy = [d for d in MUTANTS if f"{d.criterion}:{HEALTHY}" in names]
    if backend == "containers":
        healthy = [d for d in healthy if d.fits_containers]
    stages = {stage for d in healthy for stage in d.stages}
    tried, left = 0, list(defects)
    fresh = stages - {_LAST}
    broken: list[str] = []

    def late() -> bool:
        return time.monotonic() - began > seconds

    while (left or fresh) and not late():
        with _stack(backend, say) as (stack, webhook):
            try:
                if fresh:
                    # Without the criteria that need the loss of the cluster, which are tried below.
                    asked = [d for d in healthy if _LAST not in d.stages]
                    fresh, now = set(), fresh
                    _healthy(path, stack, webhook, now, asked, say)
                while left and not late():
                    defect, tried = left.pop(0), tried + 1
                    say(f"defect {tried} of {len(defects)}: {defect.name} ({defect.criterion})")
                    _defect(path, stack, webhook, defect, say)
                    if defect.irreversible:
                        break
            except Exception as error:
                # This mutant gets no certificate. The others are tried on a new stack.
                traceback.print_exc()
                broken.append(f"{type(error).__name__}: {error}")
    if _LAST in stages and not late():
        # Nothing can be tried on a stack whose cluster is lost.
        asked = [d for d in healthy if _LAST in d.stages]
        with _stack(backend, say) as (stack, webhook):
            _healthy(path, stack, webhook, {s for d in asked for s in d.stages}, asked, say)
    for line in broken:
        say(f"trial not completed: {line}")
    return 1 if broken else 0


@contextmanager
def _stack(backend: str, say: Callable[[str], None]) -> Iterator[tuple[Stack, Webhook]]:
    with (
        Webhook() as webhook,
        fixtures.start_stack(
            nodes=_NODES,
            cpus_per_node=_CPUS,
            backend=backend,
            alert_webhook=webhook.url,
            on_progress=say,
        ) as stack,
    ):
        yield stack, webhook


def _healthy(
    path: Path,
    stack: Stack,
    webhook: Webhook,
    stages: Collection[str],
    asked: Sequence[Mutant],
    say: Callable[[str], None],
) -> None:
    """Nothing is planted: any FAIL is a false alarm."""
    say("the healthy system")
    found = _run(stack, webhook, [s for s in STAGE_ORDER if s in stages], None, None, say)
    for criterion in dict.fromkeys(d.criterion for d in asked):
        status, reason = found[criterion]
        alarm = status is Status.FAIL
        _keep(path, stack, criterion, HEALTHY, Status.PASS.value, alarm, status, reason)


def _defect(
    path: Path, stack: Stack, webhook: Webhook, defect: Mutant, say: Callable[[str], None]
) -> None:
    with _planted(defect.patches):
        found = _run(stack, webhook, defect.stages, defect.injector, defect.simulated, say)
    status, reason = found[defect.criterion]
    detected = status.value == defect.expects
    _keep(path, stack, defect.criterion, defect.name, defect.expects, detected, status, reason)
    say(f"{status.value}: {reason}")


def _copied() -> bool:
    return "ga-sabotage-" in str(_ROOT)


def _keep(
    path: Path,
    stack: Stack,
    criterion: str,
    defect: str,
    expected: str,
    detected: bool,
    status: Status,
    reason: str,
) -> None:
    append(
        path,
        Certificate(
            criterion=criterion,
            defect=defect,
            detected=detected,
            verdict=status.value,
            expected=expected,
            reason=reason,
            code=criterion_hash(criterion),
            at=time.time(),
            stack=stack.backend,
        ),
    )


@contextmanager
def _planted(patches: Sequence[SourcePatch]) -> Iterator[None]:
    before = {name: (_ROOT / name).read_text() for name in dict.fromkeys(e.file for e in patches)}
    after = dict(before)
    for patch in patches:
        if after[patch.file].count(patch.old) != 1:
            raise SystemExit(
                f"trial: mutant does not apply: expected exactly one match in {patch.file} of"
                f" {patch.old!r}"
            )
        after[patch.file] = after[patch.file].replace(patch.old, patch.new)
    try:
        for name, text in after.items():
            (_ROOT / name).write_text(text)
        yield
    finally:
        for name, text in before.items():
            (_ROOT / name).write_text(text)


def _run(
    stack: Stack,
    webhook: Webhook,
    stages: Sequence[str],
    injector: Injector | None,
    simulated: str | None,
    say: Callable[[str], None],
) -> dict[str, tuple[Status, str]]:
    """Gather evidence in some stages and judge it."""
    if _SOAK in stages:
        found = _soak(simulated or "healthy")
        rest = [stage for stage in stages if stage != _SOAK]
        # The healthy system is tried in all stages at once: only uptime needs two days.
        real = _run(stack, webhook, rest, injector, None, say) if rest else {}
        return found | real | {"uptime": found["uptime"]}
    # In the copy: containers can read it, and it is removed with the copy.
    with tempfile.TemporaryDirectory(prefix="ga-trial-", dir=_ROOT) as place:
        folder, outages = Path(place), ExcusedOutages()
        evidence = folder / "evidence.jsonl"
        with EvidenceWriter(
            evidence,
            run=f"trial-{time.time()}",
            seed=_SEED,
            backend=stack.backend,
            nodes=_NODES,
            cpus_per_node=_CPUS,
            replay="python -m validation certify",
        ) as writer:
            writer.add(Environment(values=environment()))
            watch = ClusterMonitor(stack, writer, outages)
            watch.steady(_STEADY_SECONDS)
            context = Context(
                stack=stack,
                writer=writer,
                outages=outages,
                folder=folder,
                seed=_SEED,
                scale=_SCALE,
                say=say,
                webhook=webhook,
            )
            _empty(context.workloads.store)
            with HarnessMonitor(stack, writer), (injector or _nothing)(stack):
                with watch:
                    for stage in stages:
                        if stage != _LAST:
                            STAGES[stage].run(context)
                    for notification in webhook.notifications:
                        if notification.received_at >= context.began:
                            writer.add(notification)
                if _LAST in stages:
                    STAGES[_LAST].run(context)
        result = decide([read_evidence(evidence)])
    return {name: (v.status, v.reason) for name, v in result.verdicts.items()}


def _nothing(_: Stack) -> nullcontext[None]:
    return nullcontext()


def _empty(store: str) -> None:
    """Empty the ledger, so that this trial finds nothing of an earlier one."""
    engine = sa.create_engine(store)
    try:
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.execute(sa.text("DROP SCHEMA public CASCADE"))
                connection.execute(sa.text("CREATE SCHEMA public"))
    finally:
        engine.dispose()


def _soak(world: str) -> dict[str, tuple[Status, str]]:
    """The gate's verdicts on two simulated days."""
    with tempfile.TemporaryDirectory(prefix="ga-trial-") as place:
        folder = str(Path(place) / "soak")
        options = argparse.ArgumentParser()
        soak_options.register(options)
        argv = ["--hours", "49", "--seed", str(_SEED), "--simulate", world, "--out", folder]
        result = decide([read_soak(soak_command.soak(options.parse_args(argv)))])
    return {name: (v.status, v.reason) for name, v in result.verdicts.items()}


if __name__ == "__main__":
    try:
        with termination.by_signal():
            sys.exit(main(sys.argv[1:]))
    except termination.EndedError as ended:
        sys.exit(ended.status)
