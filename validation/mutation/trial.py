"""Run in a copy of the tree, as a program: one stack, and on it one defect after the other."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, get_args

import sqlalchemy as sa

import fixtures
from fixtures import Stack
from fixtures.system import termination
from validation.certificates import HEALTHY, Certificate, append, code_hash
from validation.decision import decide
from validation.evidence.log import EvidenceWriter, read_evidence
from validation.monitors.alert_webhook import Webhook
from validation.monitors.cluster import Outages, Watch
from validation.monitors.dashboards import ask_all
from validation.monitors.harness import Observe
from validation.mutation.injectors import RUINOUS, WATCH_SECONDS, harmed
from validation.mutation.mutants import DEFECTS, Defect, Edit, Harm, Stage
from validation.soak import read_soak, run
from validation.stages.exposure import search, survey
from validation.stages.fault_records import plant_alert
from validation.stages.network_latency import round_trips
from validation.stages.recovery_drills import Drills
from validation.stages.scaling import autoscale, preempt
from validation.stages.service_load import service_load
from validation.stages.workloads import Campaign, Scale
from validation.verdict import Status

_ROOT: Final = Path(__file__).resolve().parents[2]
_NODES, _CPUS, _SEED = 4, 0.4, 1
_SCALE: Final = Scale(pairs=3, recoveries=1, speedup=(110, 2), evolution=(700, 28))
_STEADY_SECONDS: Final = 90.0
_LAST: Final[Stage] = "rollback"
_ORDER: Final[tuple[Stage, ...]] = get_args(Stage)


def main(argv: Sequence[str]) -> int:
    """``trial CERTIFICATES SECONDS STACK CRITERION:DEFECT...``: the healthy one (``none``) first.

    After so many seconds no other trial is begun.
    """
    path, seconds, backend, names = Path(argv[0]), float(argv[1]), argv[2], argv[3:]
    if _ROOT in (Path.cwd().resolve(), *Path.cwd().resolve().parents) and not _copied():
        raise SystemExit("trial: defects are planted in a copy only; use validation certify")
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"[{minutes:02}:{seconds:02}] {text}", file=sys.stderr, flush=True)

    defects = [d for d in DEFECTS if f"{d.criterion}:{d.name}" in names]
    healthy = [d for d in DEFECTS if f"{d.criterion}:{HEALTHY}" in names]
    if backend == "containers":
        healthy = [d for d in healthy if d.on_containers]
    stages = {stage for d in healthy for stage in d.needs}
    tried, left = 0, list(defects)
    fresh = stages - {_LAST}
    broken: list[str] = []

    def late() -> bool:
        return time.monotonic() - began > seconds

    while (left or fresh) and not late():
        with _stack(backend, say) as (stack, webhook):
            try:
                if fresh:
                    # Without what rests on the loss of the cluster, which is tried below.
                    asked = [d for d in healthy if _LAST not in d.needs]
                    fresh, now = set(), fresh
                    _healthy(path, stack, webhook, now, asked, say)
                while left and not late():
                    defect, tried = left.pop(0), tried + 1
                    say(f"defect {tried} of {len(defects)}: {defect.name} ({defect.criterion})")
                    _defect(path, stack, webhook, defect, say)
                    if defect.harm in RUINOUS:
                        break
            except Exception as error:
                # It has no certificate then. The others are tried, on a stack that is whole.
                traceback.print_exc()
                broken.append(f"{type(error).__name__}: {error}")
    if _LAST in stages and not late():
        # Nothing can be tried on a stack whose cluster is lost.
        asked = [d for d in healthy if _LAST in d.needs]
        with _stack(backend, say) as (stack, webhook):
            _healthy(path, stack, webhook, {s for d in asked for s in d.needs}, asked, say)
    for line in broken:
        say(f"not tried to the end: {line}")
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
    stages: Collection[Stage],
    asked: Sequence[Defect],
    say: Callable[[str], None],
) -> None:
    """Nothing is planted: whatever fails is a false alarm."""
    say("the healthy system")
    found = _run(stack, webhook, [s for s in _ORDER if s in stages], None, say)
    for criterion in dict.fromkeys(d.criterion for d in asked):
        status, reason = found[criterion]
        alarm = status is Status.FAIL
        _keep(path, stack, criterion, HEALTHY, Status.PASS.value, alarm, status, reason)


def _defect(
    path: Path, stack: Stack, webhook: Webhook, defect: Defect, say: Callable[[str], None]
) -> None:
    with _planted(defect.edits):
        status, reason = _run(stack, webhook, defect.needs, defect.harm, say)[defect.criterion]
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
            code=code_hash(),
            at=time.time(),
            stack=stack.backend,
        ),
    )


@contextmanager
def _planted(edits: Sequence[Edit]) -> Iterator[None]:
    before = {name: (_ROOT / name).read_text() for name in dict.fromkeys(e.file for e in edits)}
    after = dict(before)
    for edit in edits:
        if after[edit.file].count(edit.old) != 1:
            raise SystemExit(f"trial: {edit.file} does not hold once: {edit.old!r}")
        after[edit.file] = after[edit.file].replace(edit.old, edit.new)
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
    stages: Sequence[Stage],
    harm: Harm | None,
    say: Callable[[str], None],
) -> dict[str, tuple[Status, str]]:
    """Gather evidence in some stages and judge it."""
    if "soak" in stages:
        found = _soak(harm or "healthy")
        rest = [stage for stage in stages if stage != "soak"]
        # The healthy system is tried in all stages at once: of them only uptime needs two days.
        real = _run(stack, webhook, rest, harm, say) if rest else {}
        return found | real | {"uptime": found["uptime"]}
    # In the copy: containers see it, and it goes with it.
    with tempfile.TemporaryDirectory(prefix="ga-trial-", dir=_ROOT) as place:
        folder, outages, began = Path(place), Outages(), time.time()
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
            watch = Watch(stack, writer, outages)
            watch.steady(_STEADY_SECONDS)
            campaign = Campaign(
                stack, writer, seed=_SEED, scale=_SCALE, folder=folder, outages=outages, say=say
            )
            _empty(campaign.store)
            drills = Drills(campaign, stack, writer, folder=folder, say=say)

            def on_other(other: Stack, place: Path) -> Campaign:
                return Campaign(
                    other, writer, seed=_SEED, scale=_SCALE, folder=place, outages=outages, say=say
                )

            def backup() -> None:
                campaign.reference(drills.back_up)
                drills.restore()

            def ask() -> None:
                url = stack.endpoints.prometheus
                if url is not None:
                    ask_all(writer, prometheus=url, grafana=stack.endpoints.grafana, since=began)

            def alert() -> None:
                plant_alert(stack, writer, outages, webhook, seed=_SEED, say=say)
                for notification in webhook.notifications:
                    if notification.received_at >= began:
                        writer.add(notification)

            def expose() -> None:
                survey(stack, writer, say=say)
                search(stack, writer, folder)

            do: dict[Stage, Callable[[], None]] = {
                "bad input": drills.bad_input,
                "backup": backup,
                "reference": lambda: campaign.reference(),
                "recovery": campaign.recoveries,
                "speedup": campaign.speedup,
                "panels": ask,
                "alert": alert,
                "network": lambda: round_trips(stack, writer, say=say),
                "exposure": expose,
                "preemption": lambda: preempt(campaign, stack, writer, outages, say=say),
                "population": campaign.populations,
                "autoscaling": lambda: autoscale(writer, folder=folder, say=say, make=on_other),
                "service": lambda: service_load(writer, folder=folder, say=say),
                "watch": lambda: time.sleep(WATCH_SECONDS),
            }
            with Observe(stack, writer), harmed(stack, harm):
                with watch:
                    for stage in stages:
                        if stage != _LAST:
                            do[stage]()
                if _LAST in stages:
                    drills.rollback()
        result = decide([read_evidence(evidence)])
    return {name: (v.status, v.reason) for name, v in result.verdicts.items()}


def _empty(store: str) -> None:
    """Nothing that another trial did to the ledger may be found by this one."""
    engine = sa.create_engine(store)
    try:
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                connection.execute(sa.text("DROP SCHEMA public CASCADE"))
                connection.execute(sa.text("CREATE SCHEMA public"))
    finally:
        engine.dispose()


def _soak(world: str) -> dict[str, tuple[Status, str]]:
    """Two simulated days, and what the gate says of them."""
    with tempfile.TemporaryDirectory(prefix="ga-trial-") as place:
        folder = str(Path(place) / "soak")
        options = argparse.ArgumentParser()
        run.register(options)
        argv = ["--hours", "49", "--seed", str(_SEED), "--simulate", world, "--out", folder]
        result = decide([read_soak(run.soak(options.parse_args(argv)))])
    return {name: (v.status, v.reason) for name, v in result.verdicts.items()}


if __name__ == "__main__":
    try:
        with termination.by_signal():
            sys.exit(main(sys.argv[1:]))
    except termination.EndedError as ended:
        sys.exit(ended.status)
