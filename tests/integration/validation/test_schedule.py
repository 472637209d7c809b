"""Seeded schedules: the same seed gives the same faults, all are undone, and all are told."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import evolution_gate.fixtures.protocols
import evolution_gate.fixtures.ray.gcs
import validation.campaigns.fault_schedule
from evolution_gate.fixtures.backends.container import stack as containers
from evolution_gate.fixtures.protocols import SERVICES, Receipt, receipt
from validation.campaigns.fault_schedule import (
    NODE_FAULTS,
    SERVICE_FAULTS,
    Step,
    draw,
    inject,
    play,
)
from validation.cli.main import main
from validation.evidence.log import read_evidence
from validation.evidence.records import Fault, Note
from validation.evidence.records_faults import Phases
from validation.monitors.cluster import ExcusedOutages

ROOT = Path(__file__).resolve().parents[3]
NODES = ("n1", "n2", "n3")


@given(seed=st.integers(0, 2**63 - 1))
@settings(max_examples=200)
def test_equal_seeds_give_equal_schedules(seed: int) -> None:
    steps = draw(seed, nodes=NODES, services=SERVICES)
    assert steps == draw(seed, nodes=NODES, services=SERVICES)
    targets = [step.target for step in steps]
    assert len(targets) == len(set(targets)) == 4
    assert len(set(NODES) - set(targets)) >= 1
    assert [s.at_s for s in steps] == sorted(s.at_s for s in steps)
    for step in steps:
        assert step.fault in (NODE_FAULTS if step.target in NODES else SERVICE_FAULTS)


def test_every_fault_is_drawn_eventually() -> None:
    steps = [s for seed in range(400) for s in draw(seed, nodes=NODES, services=SERVICES)]
    assert {(s.fault, s.target) for s in steps} == {
        *((fault, node) for fault in NODE_FAULTS for node in NODES),
        *((fault, service) for fault in SERVICE_FAULTS for service in SERVICES),
    }
    overlaps = [
        seed
        for seed in range(100)
        for a, b in [draw(seed, nodes=NODES, services=SERVICES)[:2]]
        if b.at_s < a.at_s + a.for_s
    ]
    assert overlaps


class Fake:
    """A stack that writes down what is done to it."""

    def __init__(self, *, breaks: str = "") -> None:
        self.done: list[str] = []
        self.breaks = breaks
        self.nodes = [self._node("n1"), self._node("n2")]

    def _node(self, name: str) -> Any:
        acts = ("kill", "start", "pause", "resume", "partition", "heal", "kill_worker")
        does = {act: lambda act=act: self.do(act, name) for act in acts}
        does["impair"] = lambda what: self.do(what.fault, name)
        does["restore"] = lambda: self.do("mend", name)
        does["hog_memory"] = lambda _share, _seconds: self.do("memory", name)
        return SimpleNamespace(name=name, alive=True, **does)

    def do(self, act: str, target: str) -> Receipt:
        self.done.append(f"{act} {target}")
        if act == self.breaks:
            raise RuntimeError("bug")
        return receipt(act, target, time.time(), {}, {}, confirmed=True)

    def alive_nodes(self) -> frozenset[str]:
        return frozenset({"n1", "n2"})

    def kill_service(self, name: str) -> Receipt:
        return self.do("kill", name)

    def stop_service(self, name: str) -> Receipt:
        return self.do("stop", name)

    def start_service(self, name: str) -> Receipt:
        return self.do("start", name)


@pytest.mark.parametrize("fault", [*NODE_FAULTS, "stop"])
@pytest.mark.parametrize("fails", [False, True])
def test_undo_runs_whatever_happens(fault: str, fails: bool) -> None:
    stack, told = Fake(), []
    target = "n1" if fault in NODE_FAULTS else "redis"
    step = Step(at_s=0, for_s=0, fault=fault, target=target)
    outages = ExcusedOutages()
    with (
        pytest.raises(RuntimeError) if fails else nullcontext(),
        inject(stack, outages, step, told.append) as injected,  # type: ignore[arg-type]
    ):
        if fails:
            raise RuntimeError("the run broke")
    phases = injected.phases("w")
    assert (phases.fault, phases.target, phases.noticed_s) == (fault, target, None)
    assert 0 <= phases.confirmed_s <= phases.undo_s <= phases.undone_s <= (phases.back_s or 0)
    assert [f"{one.fault} {one.target}" for one in told] == stack.done
    undo = {"pause": "resume", "partition": "heal", "stop": "start", "kill": "start"}
    for word in ("one_way in", "one_way out", "loss", "delay", "narrow"):
        undo[word] = "mend"
    if fault in undo:
        assert f"{undo[fault]} {target}" in stack.done[1:]


def played(stack: Fake, steps: list[Step], over: Callable[[], bool]) -> int:
    return len(play(steps, stack, ExcusedOutages(), lambda _: None, over=over, say=lambda _: None))  # type: ignore[arg-type]


class Clock(ModuleType):
    """What stands in for ``time``: it passes only in sleep."""

    def __init__(self) -> None:
        super().__init__("time")
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (
        validation.campaigns.fault_schedule,
        evolution_gate.fixtures.ray.gcs,
        evolution_gate.fixtures.protocols,
        sys.modules[__name__],
    ):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.mark.usefixtures("clock")
def test_steps_overlap_and_end_in_time() -> None:
    stack = Fake()
    long = Step(at_s=0.0, for_s=0.6, fault="pause", target="n1")
    short = Step(at_s=0.2, for_s=0.1, fault="stop", target="redis")
    assert played(stack, [long, short], lambda: False) == 2
    assert stack.done[:4] == ["pause n1", "stop redis", "start redis", "resume n1"]


def test_time_of_detection_is_recorded(clock: Clock) -> None:
    stack, began = Fake(), clock.now
    here = stack.alive_nodes()
    # Gone 0.3 s after the fault, and back by the time that it is undone.
    stack.alive_nodes = lambda: here - {"n1"} if 0.3 < clock.now - began < 0.7 else here  # type: ignore[method-assign]
    steps = [
        Step(at_s=0.0, for_s=0.8, fault="pause", target="n1"),
        Step(at_s=0.0, for_s=0.8, fault="stop", target="redis"),
    ]
    first, second = play(
        steps, stack, ExcusedOutages(), lambda _: None, over=lambda: False, say=lambda _: None  # type: ignore[arg-type]
    )  # fmt: skip
    seen = first.phases("w")
    # It is looked every quarter of a second, and this is the one look that finds it gone.
    assert (seen.noticed_s, seen.undo_s) == (0.5, 1.0)
    assert seen.back_s is not None
    assert seen.back_s >= seen.undone_s
    assert second.phases("w").noticed_s is None


def test_end_of_the_run_undoes_the_schedule() -> None:
    stack = Fake()
    first = Step(at_s=0.0, for_s=60.0, fault="loss", target="n2")
    second = Step(at_s=50.0, for_s=1.0, fault="kill", target="redis")
    assert played(stack, [first, second], lambda: bool(stack.done)) == 1
    assert stack.done == ["loss n2", "mend n2"]


def test_failing_fault_leaves_nothing_behind() -> None:
    stack = Fake(breaks="kill")
    first = Step(at_s=0.0, for_s=60.0, fault="loss", target="n2")
    second = Step(at_s=0.1, for_s=1.0, fault="kill", target="redis")
    with pytest.raises(RuntimeError, match="bug"):
        played(stack, [first, second], lambda: False)
    assert {"mend n2", "start redis"} <= set(stack.done)


def test_schedule_needs_two_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schedule", "--nodes", "1"]) == 2
    assert "--nodes" in capsys.readouterr().err


@pytest.mark.stack
@pytest.mark.nightly
@pytest.mark.parametrize("backend", ["processes", "containers"])
def test_real_schedule_changes_no_result(backend: str, tmp_path: Path) -> None:
    if backend == "containers" and (missing := containers.available()):
        pytest.skip(missing)
    # Nodes n1 and n3, PostgreSQL and Prometheus, three of them at once.
    seed, out = 265, tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-m", "validation", "schedule", "--stack", backend,
         "--replay", str(seed), "--out", str(out), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    record = read_evidence(out / "evidence.jsonl")
    assert record.opening.replay.endswith(f"--stack {backend} --nodes 3 --replay {seed}")
    planned = [n.text for n in record.all(Note) if n.text.startswith("schedule: ")]
    services = [s for s in SERVICES if s in str(record.of("services")[0].data)]
    again = draw(seed, nodes=NODES, services=services)
    assert planned == [f"schedule: {step}" for step in again]
    faults = record.all(Fault)
    assert [f for f in faults if not f.confirmed] == []
    assert {f.target for f in faults if f.fault in ("kill", "pause")} == {s.target for s in again}
    phases = record.all(Phases)
    assert [(p.fault, p.target) for p in phases] == [(s.fault, s.target) for s in again]
    for one in phases:
        assert one.back_s is not None
        assert one.confirmed_s <= one.undo_s <= one.undone_s <= one.back_s
    said = {v["criterion"]: v["status"] for v in json.loads(done.stdout)["verdicts"]}
    wanted = dict.fromkeys(("no_data_loss", "reproducibility", "container_stability"), "PASS")
    assert said == wanted, done.stdout
