"""Whose CPU time it was: the gate's and the stack's processes, and those of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from validation.monitors.machine import Account, Process

GATE, TICKS = 100, os.sysconf("SC_CLK_TCK")


def process(parent: int, own: float = 0, waited: float = 0, started: int = 1) -> Process:
    return Process(parent=parent, started=started, own=int(own * TICKS), waited=int(waited * TICKS))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Of these processes 300 has the stack's mark, 400 has another stack's."""
    for pid, name, text in (
        (300, "environ", b"PATH=/bin\0GA_STACK_ID=abc\0"),
        (400, "environ", b"GA_STACK_ID=xyz\0"),
        (500, "cgroup", b"1:cpu:/docker/0123abc"),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / name).write_bytes(text)
    return tmp_path


def account(proc: Path) -> Account:
    return Account(GATE, ["GA_STACK_ID=abc", "0123abc"], proc=proc)


def test_own_time_is_that_of_gate_and_stack(proc: Path) -> None:
    one = account(proc)
    first = {
        1: process(0), GATE: process(1, 5), 101: process(GATE, 1),
        300: process(1, 7), 301: process(300), 400: process(1), 500: process(1),
    }  # fmt: skip
    assert one.add(first) == 0
    later = {
        1: process(0, 50), GATE: process(1, 6), 101: process(GATE, 3),
        300: process(1, 7.5), 301: process(300, 0.25), 400: process(1, 90), 500: process(1, 4),
    }  # fmt: skip
    assert one.add(later) == 1 + 2 + 0.5 + 0.25 + 4


def test_orphan_of_the_stack_stays_its_own(proc: Path) -> None:
    one = account(proc)
    one.add({GATE: process(1), 101: process(GATE), 102: process(101, 1)})
    # 101 ended; 102 is init's child now.
    assert one.add({GATE: process(1), 102: process(1, 9)}) == 8


def test_short_lived_children_are_in_the_parents_count(proc: Path) -> None:
    one = account(proc)
    one.add({GATE: process(1)})
    assert one.add({GATE: process(1, 0.5, waited=3)}) == 3.5


def test_ended_child_is_not_counted_twice(proc: Path) -> None:
    one = account(proc)
    one.add({GATE: process(1), 101: process(GATE, 4), 102: process(101, 2)})
    # Both ended, and used another second before.
    assert one.add({GATE: process(1, waited=7)}) == 1


def test_killed_tree_takes_nothing_away(proc: Path) -> None:
    one = account(proc)
    one.add({GATE: process(1), 300: process(1, 40), 301: process(300, 40)})
    assert one.add({GATE: process(1, 0.5)}) == 0.5


def test_reused_pid_is_another_process(proc: Path) -> None:
    one = account(proc)
    one.add({GATE: process(1), 101: process(GATE, 4)})
    assert one.add({GATE: process(1, waited=4), 101: process(1, 60, started=9)}) == 0


def test_threads_of_the_kernel_are_nobodys_load(proc: Path) -> None:
    one = account(proc)
    one.add({GATE: process(1), 2: process(0), 9: process(2)})
    assert one.add({GATE: process(1), 2: process(0), 9: process(2, 1.5)}) == 1.5
