"""The deployed Compose project, broken for real: Docker brings every part back, with its data."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from evolution_gate.fixtures.backends.compose.deployment import Deployment
from evolution_gate.fixtures.backends.compose.stack import ComposeStack
from evolution_gate.fixtures.system import termination
from tests.support.production import production
from tests.support.waiting import wait_until
from validation.campaigns.run import Options, Step, run_campaign
from validation.decision import decide
from validation.evidence.log import read_evidence
from validation.evidence.records import Fault, Recovery
from validation.evidence.records_network import Listener, Survey
from validation.safety.consent import EVERY_KIND
from validation.safety.guard import Guard
from validation.safety.guarded_stack import GuardedStack
from validation.stages.scale import SHORT
from validation.targets import ComposeTarget
from validation.verdict import Status

__all__ = ["production"]
PROJECT = "evolution-gate"
_DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'gate_%'"


@pytest.fixture
def deployed(production: Path) -> Deployment:
    argv = [sys.executable, "-m", "ga", "cluster", "--file", str(production), "up"]
    subprocess.run(argv, check=True, capture_output=True)
    return Deployment(production)


def steady(stack: ComposeStack) -> None:
    wait_until(lambda: not stack.trouble(), seconds=180, what=stack.trouble, every=0.5)


def databases(deployed: Deployment) -> list[str]:
    url = deployed.postgres()
    assert url is not None
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = [str(row[0]) for row in connection.execute(sa.text(_DATABASES))]
    engine.dispose()
    return found


def interrupted(stack: ComposeStack) -> None:
    """A campaign that SIGTERM ends while a node is paused."""
    guard = Guard(
        EVERY_KIND, name=PROJECT, trouble=stack.trouble, others=tuple, add=print, say=print
    )
    with termination.by_signal(), GuardedStack(stack, guard) as safe:
        assert safe.nodes[0].pause().confirmed
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(60)


@pytest.mark.nightly
@pytest.mark.stack
def test_every_part_comes_back_with_data(deployed: Deployment, tmp_path: Path) -> None:
    names = {container.name for container in deployed.client.containers.list(all=True)}
    with ComposeStack(deployed, shared=tmp_path, on_progress=print).start() as stack:
        ends = stack.endpoints
        assert ends.redis is not None
        assert ends.postgres is not None
        assert len(databases(deployed)) == 1
        ledger = sa.create_engine(ends.postgres, pool_pre_ping=True)
        with ledger.begin() as connection:
            connection.execute(sa.text("CREATE TABLE kept (value int)"))
            connection.execute(sa.text("INSERT INTO kept VALUES (7)"))
        with redis.Redis.from_url(ends.redis) as cache:
            cache.set("gate:kept", "7")
            # What is in the append-only file outlives the process.
            wait_until(
                lambda: cache.info("persistence")["aof_buffer_length"] == 0,
                seconds=30,
                what="the append-only file is written",
            )
        before = stack.services()
        for name in ("redis", "postgres", "prometheus"):
            killed, back = stack.kill_service(name), stack.start_service(name)
            assert (killed.confirmed, back.confirmed) == (True, True), (killed, back)
            assert back.detail == "by Docker's restart policy"
        with ledger.connect() as connection:
            assert connection.execute(sa.text("SELECT value FROM kept")).scalar_one() == 7
        ledger.dispose()
        with redis.Redis.from_url(ends.redis) as cache:
            assert cache.get("gate:kept") == b"7"
            cache.delete("gate:kept")
        steady(stack)
        node = stack.nodes[0]
        killed, back = node.kill(), node.start()
        assert (killed.confirmed, back.confirmed) == (True, True), (killed, back)
        steady(stack)
        cut, healed, back = node.partition(), node.heal(), node.start()
        assert all(one.confirmed for one in (cut, healed, back)), (cut, healed, back)
        steady(stack)
        # Addresses change hands when all start at once: none may be reserved by the partition.
        together = (*stack.kill_cluster(), *stack.await_cluster())
        assert [one for one in together if not one.confirmed] == []
        steady(stack)
        killed, back = stack.kill_head(), stack.start_head()
        assert (killed.confirmed, back.confirmed) == (True, True), (killed, back)
        steady(stack)
        after = stack.services()
        broken = {"head", node.name, "redis", "postgres", "prometheus"}
        assert all(after[name] not in (None, before[name]) for name in broken)
        with pytest.raises(termination.EndedError):
            interrupted(stack)
    # A paused container would not be healthy.
    again = Deployment()
    left = {container.name for container in again.client.containers.list(all=True)}
    assert left == names
    assert databases(again) == []
    again.client.close()


@pytest.mark.nightly
@pytest.mark.stack
def test_campaign_measures_dockers_own_recovery(
    deployed: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the gate's engines may write to.
    monkeypatch.chdir(tmp_path)
    target = ComposeTarget(deployed, EVERY_KIND, option="--target compose")
    scale = dataclasses.replace(SHORT, evolution=(300, 30), recoveries=1)
    options = Options(
        seed=3, run="compose", folder=tmp_path / "run", scale=scale, replay="pytest", say=print
    )
    steps = [Step(stage=name) for name in ("reference", "recovery", "preemption")]
    # Nobody watches while the whole cluster is down.
    steps.append(Step(stage="rollback", watched=False))
    record = read_evidence(run_campaign(target, steps, options).evidence)
    (recovery,) = record.all(Recovery)
    assert recovery.total_s is not None, recovery
    faults = {(one.fault, one.confirmed): one.detail for one in record.all(Fault)}
    by_docker = "by Docker's restart policy"
    assert faults == {("drain", True): "", ("kill", True): "", ("start", True): by_docker}
    found = decide([record]).verdicts
    assert [name for name, one in found.items() if one.status is Status.FAIL] == []
    assert found["rollback"].status is Status.PASS, found["rollback"]


@pytest.mark.nightly
@pytest.mark.stack
def test_project_serves_no_client_without_credentials(
    deployed: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root reads the sockets of a container")
    monkeypatch.chdir(tmp_path)
    target = ComposeTarget(deployed, EVERY_KIND, option="--target compose")
    options = Options(
        seed=3, run="compose", folder=tmp_path / "run", scale=SHORT, replay="pytest", say=print
    )
    steps = [Step(stage=name) for name in ("sockets", "sockets at work", "secrets")]
    record = read_evidence(run_campaign(target, steps, options).evidence)
    found = decide([record]).verdicts["exposure"]
    # On a slow machine the work may end before the survey, and the verdict is then INCONCLUSIVE.
    assert found.status is not Status.FAIL, found.reason
    monitoring = [
        one for one in record.all(Listener) if one.address.endswith((":9090", ":9093", ":9094"))
    ]
    beyond = [one for one in monitoring if one.reach != "loopback"]
    # Both at both surveys, and no port for other Alertmanagers.
    assert sorted(one.address.rpartition(":")[2] for one in beyond) == [
        "9090",
        "9090",
        "9093",
        "9093",
    ]
    assert {one.access for one in beyond} == {"refused"}
    for survey in record.all(Survey):
        assert survey.credentials["prometheus"] is True
