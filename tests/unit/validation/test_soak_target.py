"""The target of a soak: what its options select, and what a resumed soak must find again."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evolution_gate.fixtures.protocols import StackError
from ga.errors import InputError
from tests.support.compose_double import NAME, Engine
from validation.cli.main import main
from validation.deployed_targets import ComposeTarget
from validation.evidence.records import Note
from validation.safety.guard import GuardError
from validation.soak import MANIFEST, Folder, Plan, read_soak
from validation.soak.options import folder_of, register, target_of_plan
from validation.soak.run import require_same, soak
from validation.soak.simulated_world import SimulatedWorld
from validation.soak.stack_world import StackWorld
from validation.stages.workloads import Workloads
from validation.targets import OwnStack

KILLS = ["--target", "compose", "--allow-faults", "kill", "--confirm", NAME]


def begun(path: Path, *arguments: str) -> Folder:
    parser = argparse.ArgumentParser()
    register(parser)
    return folder_of(parser.parse_args(["--hours", "2", "--out", str(path), *arguments]))


def test_plan_selects_the_deployed_target_again(engine: Engine, tmp_path: Path) -> None:
    words = [*KILLS, "--allow-other-jobs"]
    begun(tmp_path / "s", "--faults", "2", "--every", "90", "--seed", "3", *words)
    plan = Folder.load(tmp_path / "s").plan
    assert plan.every_s == 90
    assert plan.replay == (
        "python -m validation soak --hours 2 --faults 2 --seed 3 --every 90 "
        f"--target compose --allow-faults kill --confirm {NAME} --allow-other-jobs"
    )
    target = target_of_plan(plan)
    assert isinstance(target, ComposeTarget)
    assert target.name == NAME
    assert target.option == f"--target compose --allow-faults kill --confirm {NAME}" + (
        " --allow-other-jobs"
    )
    again = begun(tmp_path / "s", "--resume")
    assert again.plan == plan
    assert begun(tmp_path / "s", "--resume", *words).plan == plan
    assert engine.calls == []


def test_soak_without_target_has_own_stack(tmp_path: Path) -> None:
    plan = begun(tmp_path / "s", "--stack", "processes").plan
    target = target_of_plan(plan)
    assert isinstance(target, OwnStack)
    assert target.backend == "processes"
    assert plan.replay.endswith("--stack processes")
    # A soak of an earlier version does not have these fields.
    assert isinstance(target_of_plan(replace(plan, target=None, every_s=None)), OwnStack)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "compose"], "without consent"),
        (["--target", "compose", "--allow-faults", "all", "--confirm", "x"], "--confirm x"),
        (["--target", "nothing"], "no such target"),
        (["--target", "compose", "--allow-faults", "none", "--faults", "1"], "does not name it"),
        (["--address", "127.0.0.1:1", "--faults", "1"], "only watched"),
        (["--target", "compose", "--address", "h:1"], "are two targets"),
        ([*KILLS, "--stack", "processes"], "--stack are two targets"),
        ([*KILLS, "--simulate"], "--simulate are two targets"),
        (["--allow-faults", "kill"], "need --target compose"),
        (["--every", "1"], "--every must be 10 to 3600 seconds, not 1.0"),
        (["--every", "nan"], "--every must be"),
    ],
)
def test_bad_target_leaves_nothing_behind(
    engine: Engine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    out = tmp_path / "s"
    assert main(["soak", "--hours", "1", "--out", str(out), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not out.exists()
    assert engine.calls == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target", "compose", "--allow-faults", "all", "--confirm", NAME],
        ["--target", "stack"],
        ["--every", "100"],
    ],
)
def test_resume_on_another_target_is_refused(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    del engine
    begun(tmp_path / "s", *KILLS)
    before = (tmp_path / "s" / MANIFEST).read_bytes()
    command = ["soak", "--hours", "3", "--resume", "--out", str(tmp_path / "s")]
    assert main([*command, *arguments]) == 2
    said = capsys.readouterr().err
    assert f"{arguments[0]}" in said
    assert said.endswith("omit it\n")
    assert (tmp_path / "s" / MANIFEST).read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"nodes": 3}, {"cpus_per_node": 2.0}, {"backend": "containers"}], ids=str
)
def test_resumed_soak_requires_the_same_cluster(change: dict[str, object]) -> None:
    plan = Plan(
        name="s", seed=1, hours=1.0, faults=0.0, backend="compose", nodes=2,
        cpus_per_node=1.0, replay="",
    )  # fmt: skip
    folder = Folder(path=Path("s"), plan=plan)
    other = replace(plan, **change)  # type: ignore[arg-type]
    require_same(folder, other, name=NAME)
    folder = replace(folder, segments=(("segment-0001.jsonl", "0"),))
    require_same(folder, plan, name=NAME)
    with pytest.raises(InputError, match="restore these, or begin a new soak") as failed:
        require_same(folder, other, name=NAME)
    assert f"{NAME} has {other.nodes} of {other.cpus_per_node:g} ({other.backend})" in str(
        failed.value
    )


def test_guard_ends_the_soak_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "no kill of n1: redis is unhealthy"

    def refuse(_: object, *, kill: bool) -> None:
        raise GuardError(f"{why} ({kill})")

    monkeypatch.setattr(SimulatedWorld, "work", refuse)
    parser = argparse.ArgumentParser()
    register(parser)
    argv = ["--hours", "1", "--seed", "1", "--simulate", "healthy", "--out", str(tmp_path / "soak")]
    record = read_soak(soak(parser.parse_args(argv)))
    assert record.closed
    notes = [one.text for one in record.all(Note)]
    assert notes[-1] == f"the soak ended: stopped by the guard: {why} (False)"


@pytest.mark.parametrize("error", [GuardError, StackError])
def test_only_the_guard_stops_a_soak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[StackError]
) -> None:
    def refuse(_: object) -> None:
        raise error("n1 is gone")

    monkeypatch.setattr(Workloads, "recoveries", refuse)
    ends = SimpleNamespace(postgres=None, redis=None)
    stack: Any = SimpleNamespace(endpoints=ends, nodes=[])
    added: list[Note] = []
    segments: Any = SimpleNamespace(
        folder=SimpleNamespace(plan=SimpleNamespace(seed=1)), add=added.append
    )
    live: Any = SimpleNamespace(workloads=0)
    outages: Any = None
    world = StackWorld(stack, segments, live, folder=tmp_path, outages=outages, say=lambda _: None)
    with pytest.raises(GuardError) if error is GuardError else nullcontext():
        world.work(kill=True)
    words = [] if error is GuardError else ["a workload could not be run: n1 is gone"]
    assert [one.text for one in added] == words
