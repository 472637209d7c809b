"""Consent to faults, the guard of a deployed target, and what is undone whatever happens."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from evolution_gate.fixtures.capabilities import FAULTS, Capability
from evolution_gate.fixtures.protocols import Receipt, StackError, receipt
from evolution_gate.fixtures.system import termination
from tests.support.evidence_builders import evidence, passing
from tests.support.evidence_records import T0
from validation.cli.output import show_result
from validation.decision import decide
from validation.evidence.base import Record
from validation.evidence.records import Fault
from validation.evidence.records_target import GuardEvent
from validation.mutation import guard_injectors
from validation.safety.consent import EVERY_KIND, Consent, consent_of
from validation.safety.guard import Guard, GuardError
from validation.safety.guarded_stack import GuardedStack


@dataclass
class Node:
    """A node that notes what was done to it."""

    name: str
    done: list[str]
    undo_works: bool = True
    address, limits, pid, alive = "", None, None, True

    def act(self, fault: str) -> Receipt:
        self.done.append(f"{fault} {self.name}")
        good = self.undo_works or fault in ("kill", "pause")
        detail = "" if good else "it does not answer"
        return receipt(fault, self.name, 0.0, {}, {"a": 1}, confirmed=good, detail=detail)

    def __getattr__(self, fault: str) -> Callable[..., Receipt]:
        return lambda *_: self.act(fault)


@dataclass
class System:
    """Two nodes, and what the test says of their steady state."""

    done: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = (Node("n1", self.done), Node("n2", self.done))

    def __getattr__(self, name: str) -> Any:
        return lambda *args: Node(str(args[0]) if args else "head", self.done).act(name)

    def kill_cluster(self) -> Sequence[Receipt]:
        return [Node(name, self.done).act("kill") for name in ("head", "n1", "n2")]

    def guarded(self, consent: Consent = EVERY_KIND) -> GuardedStack:
        guard = Guard(
            consent, name="mine", trouble=lambda: [*self.trouble], others=lambda: self.jobs,
            add=self.records.append, say=self.said.append, seconds=0.0,
        )  # fmt: skip
        return GuardedStack(self, guard)  # type: ignore[arg-type]

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.records if isinstance(one, GuardEvent)]


@pytest.mark.parametrize(
    ("allowed", "confirmed", "words"),
    [
        (None, None, "--allow-faults all --confirm mine"),
        (None, "mine", "nothing of 'mine' is broken without consent"),
        ("all", None, "add --confirm mine"),
        ("all", "other", "the target is 'mine', so nothing was broken"),
        ("none", "other", "the target is 'mine'"),
        ("kill,explode", "mine", "no such fault; choose of kill,"),
        ("limits", "mine", "no such fault"),
        ("", "mine", "no such fault"),
    ],
)
def test_missing_consent_is_one_clear_error(
    allowed: str | None, confirmed: str | None, words: str
) -> None:
    with pytest.raises(StackError) as failed:
        consent_of(allowed, confirmed, target="mine")
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)


def test_consent_names_its_kinds() -> None:
    assert consent_of("all", "mine", target="mine").kinds == set(FAULTS)
    some = consent_of("kill, pause", "mine", target="mine")
    assert some.kinds == {Capability.KILL_NODE, Capability.PAUSE}
    assert consent_of("none", None, target="mine").kinds == set()


STRIKES: dict[str, tuple[Capability, Callable[[GuardedStack], Receipt]]] = {
    "kill": (Capability.KILL_NODE, lambda s: s.nodes[0].kill()),
    "pause": (Capability.PAUSE, lambda s: s.nodes[0].pause()),
    "partition": (Capability.PARTITION, lambda s: s.nodes[0].partition()),
    "kill_worker": (Capability.KILL_WORKER, lambda s: s.nodes[0].kill_worker()),
    "hog_memory": (Capability.MEMORY, lambda s: s.nodes[0].hog_memory(0.5, 1.0)),
    "kill_head": (Capability.HEAD, lambda s: s.kill_head()),
    "kill_service": (Capability.SERVICE, lambda s: s.kill_service("redis")),
    "stop_service": (Capability.SERVICE, lambda s: s.stop_service("redis")),
}


@pytest.mark.parametrize("fault", STRIKES)
def test_fault_without_consent_is_refused(fault: str) -> None:
    kind, strike = STRIKES[fault]
    system = System()
    with system.guarded(Consent(kinds=frozenset(FAULTS) - {kind})) as safe:
        refused = strike(safe)
    assert (refused.confirmed, system.done, system.events) == (False, [], ["refused"])
    assert f"--allow-faults does not name {kind}" in refused.detail
    with system.guarded(Consent(kinds=frozenset({kind}))) as safe:
        strike(safe)
    assert system.done[0].startswith(fault)


WHOLE = ["kill head", "kill n1", "kill n2"]


def test_whole_cluster_needs_its_own_consent() -> None:
    system = System()
    with system.guarded(Consent(kinds=frozenset(FAULTS) - {Capability.CLUSTER})) as safe:
        refused = safe.kill_cluster()
    assert [(one.target, one.confirmed) for one in refused] == [
        (name, False) for name in ("head", "n1", "n2")
    ]
    assert (system.done, system.events) == ([], ["refused"] * 3)


def test_whole_cluster_is_undone_head_first() -> None:
    system = System()
    with system.guarded() as safe:
        assert all(one.confirmed for one in safe.kill_cluster())
        assert not safe.nodes[0].pause().confirmed
        assert not safe.kill_service("redis").confirmed
    assert sorted(system.done[:3]) == WHOLE
    assert system.done[3:] == ["start_head head", "start n1", "start n2"]
    assert system.events == ["refused", "refused", "undone", "undone", "undone"]


def test_awaited_cluster_may_be_broken_again() -> None:
    system = System()
    with system.guarded() as safe:
        safe.kill_cluster()
        assert [one.target for one in safe.await_cluster()] == ["head", "n1", "n2"]
        assert safe.nodes[1].kill().confirmed
        assert safe.nodes[1].start().confirmed
    assert system.events == []


def test_whole_cluster_must_be_steady_before() -> None:
    system = System(trouble=["n1 is not ALIVE"])
    with system.guarded() as safe, pytest.raises(GuardError, match="no kill of mine"):
        safe.kill_cluster()
    assert system.done == []


def test_second_node_waits_for_the_first() -> None:
    system = System()
    with system.guarded() as safe:
        assert safe.nodes[0].kill().confirmed
        second = safe.nodes[1].kill()
        assert "n1 is still broken" in second.detail
        assert system.done == ["kill n1"]
        assert safe.nodes[0].start().confirmed
        assert safe.nodes[1].kill().confirmed
        assert safe.nodes[1].start().confirmed
    assert system.done == ["kill n1", "start n1", "kill n2", "start n2"]


def test_drained_node_may_be_killed() -> None:
    system = System()
    with system.guarded() as safe:
        node = safe.nodes[0]
        assert safe.drain(node, lambda: system.nodes[0].act("drain")).target == "n1"
        # It is missing in the cluster because it drains.
        system.trouble = ["n1 is not ALIVE"]
        assert node.kill().confirmed
        system.trouble = []
        assert node.start().confirmed
    assert system.done == ["drain n1", "kill n1", "start n1"]
    with system.guarded(Consent(kinds=frozenset({Capability.KILL_NODE}))) as safe:
        refused = safe.drain(safe.nodes[0], lambda: system.nodes[0].act("drain"))
    assert not refused.confirmed
    assert system.done == ["drain n1", "kill n1", "start n1"]


def test_unsteady_target_stops_the_campaign() -> None:
    system = System(trouble=["redis is unhealthy"])
    with system.guarded() as safe, pytest.raises(GuardError, match="redis is unhealthy"):
        safe.nodes[0].kill()
    assert (system.done, system.events) == ([], ["stopped"])


def test_job_of_somebody_else_stops_campaign() -> None:
    system = System(jobs=["theirs"])
    with system.guarded() as safe, pytest.raises(GuardError, match="--allow-other-jobs"):
        safe.nodes[0].kill()
    assert (system.done, system.events) == ([], ["stopped"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_campaign_undoes_its_fault(number: signal.Signals) -> None:
    system = System()

    def campaign() -> None:
        with termination.by_signal(), system.guarded() as safe:
            safe.nodes[0].pause()
            os.kill(os.getpid(), number)
            threading.Event().wait(60)

    with pytest.raises(termination.EndedError):
        campaign()
    assert system.done == ["pause n1", "resume n1"]
    assert system.events == ["undone"]
    undone = [one for one in system.records if isinstance(one, Fault)]
    assert [(one.fault, one.confirmed) for one in undone] == [("resume", True)]


def test_thread_that_goes_on_breaks_nothing() -> None:
    system = System()
    with system.guarded() as safe:
        pass
    assert "the campaign has ended" in safe.nodes[1].kill().detail
    assert system.done == []


def test_aborted_campaign_undoes_its_fault() -> None:
    system = System()

    def campaign() -> None:
        with system.guarded() as safe:
            safe.stop_service("redis")
            raise ValueError("a stage")

    with pytest.raises(ValueError, match="a stage"):
        campaign()
    assert system.done == ["stop_service redis", "start_service redis"]


def raising() -> Receipt:
    raise OSError("no such container")


@pytest.mark.parametrize("how", ["unconfirmed", "raises"])
def test_failed_undo_is_the_loudest_line(how: str) -> None:
    system = System()
    system.nodes[0].undo_works = False
    if how == "raises":
        system.nodes[0].__dict__["start"] = raising
    with system.guarded() as safe:
        safe.nodes[0].kill()
    assert system.events == ["not undone"]
    (loud,) = [line for line in system.said if line.startswith("!!!")]
    assert loud.startswith("!!! NOT UNDONE: kill of n1 on mine: ")
    assert ("does not answer" if how == "unconfirmed" else "no such container") in loud


def test_failed_undo_is_tried_again_at_end() -> None:
    system = System()
    system.nodes[0].undo_works = False
    with system.guarded() as safe:
        safe.nodes[0].kill()
        assert not safe.nodes[0].start().confirmed
        system.nodes[0].undo_works = True
    assert system.done == ["kill n1", "start n1", "start n1"]
    assert system.events == ["undone"]


def test_unreadable_state_is_no_steady_state() -> None:
    system = System()
    with system.guarded() as safe:
        safe.nodes[0].pause()
        system.trouble = None  # type: ignore[assignment]
        assert "is still broken" in safe.nodes[1].pause().detail
    assert system.done == ["pause n1", "resume n1"]
    assert system.events == ["refused", "undone", "unsteady"]


def test_target_that_stays_unsteady_is_told() -> None:
    system = System()
    with system.guarded() as safe:
        safe.nodes[0].kill_worker()
        system.trouble = ["n1 is not ALIVE"]
    assert system.events == ["unsteady"]
    assert any("NOT STEADY: mine" in line for line in system.said)


def test_decision_begins_with_what_stays_broken(capsys: pytest.CaptureFixture[str]) -> None:
    left = GuardEvent(event="not undone", fault="kill", target="n1", detail="gone\nfor ever", at=T0)
    events = [*passing(), (passing()[-1][0] + 1, left)]
    result = decide([evidence(events)])
    assert result.not_undone == ("NOT UNDONE: kill of n1 in run run-1: gone for ever",)
    assert "a fault was not undone" in result.reservations
    show_result(result, as_json=False)
    assert capsys.readouterr().out.startswith("!!! NOT UNDONE: kill of n1")
    undone = replace(left, event="undone")
    assert decide([evidence([*passing(), (passing()[-1][0] + 1, undone)])]).not_undone == ()


DEFECTS: dict[str, tuple[Any, Callable[[System], object]]] = {
    "consent": (guard_injectors.consent_ignored, lambda system: consented(system)),
    "guard": (guard_injectors.steady_state_ignored, lambda system: guarded(system)),
    "undo": (guard_injectors.nothing_undone, lambda system: undone(system)),
}


def consented(system: System) -> list[str]:
    with system.guarded(Consent(kinds=frozenset())) as safe:
        safe.nodes[0].kill()
    return system.done[:1]


def guarded(system: System) -> list[str]:
    system.trouble = ["n2 is not ALIVE"]
    with system.guarded() as safe, suppress(GuardError):
        safe.nodes[0].kill()
    return system.done[:1]


def undone(system: System) -> list[str]:
    with system.guarded() as safe:
        safe.nodes[0].pause()
    return ["left"] if "resume n1" not in system.done else []


@pytest.mark.parametrize("defect", DEFECTS)
def test_planted_defect_of_guard_shows(defect: str) -> None:
    plant, harm = DEFECTS[defect]
    assert harm(System()) == []
    with plant(None):
        assert harm(System()) != []
    assert harm(System()) == []
