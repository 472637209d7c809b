"""Run in a copy of the tree, as a program: one stack, and on it one defect after the other."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, get_args

import sqlalchemy as sa

import fixtures
from fixtures import Stack
from validation.campaign import Campaign, Scale
from validation.drills import Drills
from validation.elasticity import autoscale, preempt
from validation.evidence import EvidenceWriter, read_evidence
from validation.exposure import search, survey
from validation.faults import plant_alert
from validation.gate import decide
from validation.network import round_trips
from validation.probes import Observe, Outages, Watch, Webhook, ask_all
from validation.sabotage.certificates import HEALTHY, Certificate, append, code_hash
from validation.sabotage.defects import DEFECTS, Edit, Harm, Stage
from validation.sabotage.harm import WATCH_SECONDS, harmed
from validation.service import service_load
from validation.soak import command, read_soak
from validation.verdicts import Status

_ROOT: Final = Path(__file__).resolve().parents[2]
_NODES, _CPUS, _SEED = 4, 0.4, 1
_SCALE: Final = Scale(pairs=3, recoveries=1, speedup=(110, 2), evolution=(700, 20))
_STEADY_SECONDS: Final = 90.0
_ORDER: Final[tuple[Stage, ...]] = get_args(Stage)


def main(argv: Sequence[str]) -> int:
    """``trial CERTIFICATES CRITERION:DEFECT...``: try them, the healthy system (``none``) first."""
    path, names = Path(argv[0]), argv[1:]
    if _ROOT in (Path.cwd().resolve(), *Path.cwd().resolve().parents) and not _copied():
        raise SystemExit("trial: defects are planted in a copy only; use validation certify")
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"[{minutes:02}:{seconds:02}] {text}", file=sys.stderr, flush=True)

    defects = [d for d in DEFECTS if f"{d.criterion}:{d.name}" in names]
    with (
        Webhook() as webhook,
        fixtures.start_stack(
            nodes=_NODES,
            cpus_per_node=_CPUS,
            backend="processes",
            alert_webhook=webhook.url,
            on_progress=say,
        ) as stack,
    ):
        healthy = [d for d in DEFECTS if f"{d.criterion}:{HEALTHY}" in names]
        # What cannot be mended is tried last, and healthy once, beside its defect.
        mendable = {stage for d in healthy for stage in d.needs} - {"rollback"}
        if mendable:
            say("the healthy system")
            found = _run(stack, webhook, [s for s in _ORDER if s in mendable], None, say)
            for criterion in dict.fromkeys(d.criterion for d in healthy):
                status, reason = found[criterion]
                _keep(path, criterion, HEALTHY, status is Status.FAIL, status, reason)
        for number, defect in enumerate(defects, 1):
            say(f"defect {number} of {len(defects)}: {defect.name} ({defect.criterion})")
            with _planted(defect.edit):
                status, reason = _run(stack, webhook, defect.needs, defect.harm, say)[
                    defect.criterion
                ]
            detected = status is Status.FAIL
            _keep(path, defect.criterion, defect.name, detected, status, reason)
            say(f"{status.value}: {reason}")
    return 0


def _copied() -> bool:
    return "ga-sabotage-" in str(_ROOT)


def _keep(
    path: Path, criterion: str, defect: str, detected: bool, status: Status, reason: str
) -> None:
    append(
        path,
        Certificate(
            criterion=criterion,
            defect=defect,
            detected=detected,
            verdict=status.value,
            reason=reason,
            code=code_hash(),
            at=time.time(),
        ),
    )


@contextmanager
def _planted(edit: Edit | None) -> Iterator[None]:
    if edit is None:
        yield
        return
    file = _ROOT / edit.file
    text = file.read_text()
    if text.count(edit.old) != 1:
        raise SystemExit(f"trial: {edit.file} does not hold once: {edit.old!r}")
    file.write_text(text.replace(edit.old, edit.new))
    try:
        yield
    finally:
        file.write_text(text)


def _run(
    stack: Stack,
    webhook: Webhook,
    stages: Sequence[Stage],
    harm: Harm | None,
    say: Callable[[str], None],
) -> dict[str, tuple[Status, str]]:
    """Gather evidence in some stages and judge it."""
    if "soak" in stages:
        found = _soak("outages" if harm == "outages" else "healthy")
        rest = [stage for stage in stages if stage != "soak"]
        # Both were asked for: the healthy system in all stages at once.
        return (_run(stack, webhook, rest, harm, say) if rest else {}) | {"uptime": found}
    with tempfile.TemporaryDirectory(prefix="ga-trial-") as place:
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
                    ask_all(writer, prometheus=url, grafana=None, since=began)

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
                        if stage != "rollback":
                            do[stage]()
                if "rollback" in stages:
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


def _soak(world: str) -> tuple[Status, str]:
    """Two simulated days, and what the gate says of their uptime."""
    with tempfile.TemporaryDirectory(prefix="ga-trial-") as place:
        folder = str(Path(place) / "soak")
        options = argparse.ArgumentParser()
        command.register(options)
        argv = ["--hours", "49", "--seed", str(_SEED), "--simulate", world, "--out", folder]
        path = command.soak(options.parse_args(argv))
        verdict = decide([read_soak(path)]).verdict("uptime")
    return verdict.status, verdict.reason


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
