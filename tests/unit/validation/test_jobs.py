"""A job counts as right only if every declared node gave the answer that is computed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.waiting import wait_until
from validation.evidence.base import Record
from validation.evidence.records_monitoring import Job
from validation.monitors.jobs import JobMonitor, ask, expected
from validation.scripts.job_probe import found_nodes

NODES = ("n1", "n2", "n3")


class Planned:
    """Jobs with planned answers."""

    def __init__(self, answer: Callable[[str, str], str | None], why: str = "") -> None:
        self.answer, self.why = answer, why
        self.nonces: list[str] = []
        self.closed = False

    def run(self, nonce: str, seconds: float) -> tuple[Mapping[str, str], str]:
        assert seconds == 10.0
        self.nonces.append(nonce)
        answers = {node: self.answer(nonce, node) for node in NODES}
        return {node: answer for node, answer in answers.items() if answer is not None}, self.why

    def close(self) -> None:
        self.closed = True


def test_right_answers_of_all_nodes_are_right() -> None:
    found = ask(Planned(expected), NODES)
    assert (found.right, found.wrong, found.missing) == (NODES, (), ())


@pytest.mark.parametrize(
    ("answer", "wrong", "missing"),
    [
        (lambda nonce, node: None if node == "n2" else expected(nonce, node), (), ("n2",)),
        (lambda nonce, _: expected(nonce, "n1"), ("n2", "n3"), ()),
        (lambda _, node: expected("an earlier nonce", node), NODES, ()),
        (lambda *_: "", NODES, ()),
        (lambda *_: None, (), NODES),
    ],
)
def test_other_answers_are_not_right(
    answer: Callable[[str, str], str | None], wrong: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    found = ask(Planned(answer, why="lost"), NODES)
    assert (found.wrong, found.missing) == (wrong, missing)
    assert set(found.right) == set(NODES) - {*wrong, *missing}
    assert found.detail == "lost"


def test_monitor_writes_jobs_with_fresh_nonces() -> None:
    kept: list[Record] = []
    stack: Any = SimpleNamespace(nodes=[SimpleNamespace(name=name) for name in NODES])
    sink: Any = SimpleNamespace(add=kept.append)
    jobs = Planned(expected)
    monitor = JobMonitor(stack, sink, jobs=jobs, period=0.01)
    assert monitor.steady(20.0)
    assert kept == []
    with monitor:
        wait_until(lambda: len(kept) >= 3, seconds=20, what="three jobs", every=0.01)
    assert all(isinstance(record, Job) and record.right == NODES for record in kept)
    assert len(set(jobs.nonces)) == len(jobs.nonces)
    assert jobs.closed


def test_steady_state_needs_every_node() -> None:
    stack: Any = SimpleNamespace(nodes=[SimpleNamespace(name=name) for name in NODES])
    some = Planned(lambda nonce, node: None if node == "n3" else expected(nonce, node))
    assert not JobMonitor(stack, stack, jobs=some).steady(0.01)


def _alive(name: str, address: str, identity: str) -> dict[str, Any]:
    return {"NodeName": name, "NodeManagerAddress": address, "NodeID": identity}


def test_nodes_are_found_by_name_or_unique_address() -> None:
    alive = [
        _alive("n1", "10.0.0.1", "a"),
        # Ray calls a node that was given no name by its address.
        _alive("10.0.0.2", "10.0.0.2", "b"),
        _alive("n3", "10.0.0.9", "c"),
        _alive("n4", "10.0.0.9", "d"),
        _alive("n5", "10.0.0.6", "e"),
    ]
    nodes = {
        "n1": "10.0.0.7",
        "worker-2": "10.0.0.2",
        "n3": "10.0.0.9",
        "worker-9": "10.0.0.9",
        "n5": "10.0.0.2",
        "worker-8": "10.0.0.8",
    }
    assert found_nodes(nodes, alive) == {"n1": "a", "worker-2": "b", "n3": "c", "n5": "e"}
