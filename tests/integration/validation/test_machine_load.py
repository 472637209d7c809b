"""The load of other programs on the real machine, distinguished from that of the gate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from evolution_gate.fixtures.system import process_table
from tests.support.waiting import wait_until
from validation.monitors.machine import Account, MachineMeter, processes

BURN = "while True: pass"
"""Endless; its parent ends it."""
USED_S = 0.5


@contextmanager
def burning(marks: dict[str, str] | None = None) -> Iterator[int]:
    """A process that uses a core, which this process knows no better than any other user does."""
    with subprocess.Popen([sys.executable, "-c", BURN], env=marks or {}) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def used(pid: int) -> float:
    return process_table.cpu_seconds(pid)


def test_own_child_is_own_load() -> None:
    meter = MachineMeter(())
    first = meter.read()
    with burning() as pid:
        wait_until(lambda: used(pid) >= USED_S, seconds=120, what="CPU time")
        second = meter.read()
    assert second.own_s - first.own_s >= USED_S
    assert second.busy_s > first.busy_s
    assert second.cores >= 1
    assert second.idle_s >= first.idle_s


def test_unmarked_process_is_other_load() -> None:
    with burning({"GA_STACK_ID": "abc"}) as pid:
        # Seen by a gate that is not its parent.
        unmarked, stack = Account(-1, ()), Account(-1, ("GA_STACK_ID=abc",))
        begun = processes()
        for account in (unmarked, stack):
            account.add(begun)
        before = used(pid)
        wait_until(lambda: used(pid) >= before + USED_S, seconds=120, what="CPU time")
        now = processes()
        # The kernel's threads count as own for both.
        assert stack.add(now) - unmarked.add(now) >= USED_S - 0.1
