"""CPU time of this machine, and how much of it the gate and its stack used.

The rest is other load. What the system under test burns itself never counts as such: every process
of the stack is found by its ancestors, or by a mark in its environment, command line or control
group, and stays known when its parent has ended. CPU time of a process that ended between two
readings is in the count of the parent that waited for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system import process_table
from validation.evidence.records_self_check import MachineReading

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KERNEL: Final = 2
"""Pid of the kernel's thread that starts all others of the kernel."""
_QUOTA_FILES: Final = ("cpu", "cpu,cpuacct", "cpuacct,cpu", "")
"""Folders below ``/sys/fs/cgroup`` that may hold the own group's counts; empty: version 2."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process at one moment; times in clock ticks."""

    parent: int
    started: int
    own: int
    """User and system time."""
    waited: int
    """The same of children that ended and were waited for, and of theirs."""


class Account:
    """Adds up the CPU time of the gate, of the kernel's threads and of marked processes.

    Args:
        root: Pid of the gate; its descendants are its own.
        marks: Texts that only processes of the stack have in environment, command line or group.
    """

    def __init__(self, root: int, marks: Sequence[str], *, proc: Path = Path("/proc")) -> None:
        self._root, self._marks, self._proc = root, [mark.encode() for mark in marks if mark], proc
        self._known: dict[tuple[int, int], bool] = {}
        """Pid and start time to whether a process is ours."""
        self._last: dict[int, Process] = {}
        self._ticks = 0

    def add(self, now: Mapping[int, Process]) -> float:
        """Seconds used so far, with those since the last reading.

        Args:
            now: All processes by pid.
        """
        ours = {pid: one for pid, one in now.items() if self._is_ours(pid, now)}
        if self._last:
            self._ticks += sum(self._since(pid, one, ours) for pid, one in ours.items())
        self._last = ours
        there = {(pid, one.started) for pid, one in now.items()}
        self._known = {key: value for key, value in self._known.items() if key in there}
        return self._ticks / _TICKS

    def _since(self, pid: int, one: Process, ours: Mapping[int, Process]) -> int:
        before = self._last.get(pid)
        if before is None or before.started != one.started:
            return one.own + one.waited
        # What children that ended had used at the last reading was counted then.
        counted = sum(
            child.own + child.waited
            for number, child in self._descendants(pid)
            if number not in ours or ours[number].started != child.started
        )
        return one.own - before.own + max(0, one.waited - before.waited - counted)

    def _descendants(self, pid: int) -> list[tuple[int, Process]]:
        found: list[tuple[int, Process]] = []
        todo = [pid]
        while todo:
            parent = todo.pop()
            children = [(n, one) for n, one in self._last.items() if one.parent == parent]
            found += children
            todo += [n for n, _ in children]
        return found

    def _is_ours(self, pid: int, now: Mapping[int, Process]) -> bool:
        """Decided when a process is first seen, for good: its parent may end before it."""
        path: list[int] = []
        verdict = False
        while pid in now:
            key = pid, now[pid].started
            if (known := self._known.get(key)) is not None:
                verdict = known
                break
            path.append(pid)
            if pid in (self._root, _KERNEL) or self._is_marked(pid):
                verdict = True
                break
            pid = now[pid].parent
        for one in path:
            self._known[one, now[one].started] = verdict
        return verdict

    def _is_marked(self, pid: int) -> bool:
        for name in ("environ", "cgroup", "cmdline") if self._marks else ():
            try:
                text = (self._proc / str(pid) / name).read_bytes()
            except OSError:  # ended in the meantime, or another user's
                continue
            if any(mark in text for mark in self._marks):
                return True
        return False


def processes(proc: Path = Path("/proc")) -> dict[int, Process]:
    """All processes of this machine by pid."""
    found = {}
    for pid in process_table.everyone():
        try:
            text = (proc / str(pid) / "stat").read_text()
        except OSError:  # ended in the meantime
            continue
        fields = text.rpartition(")")[2].split()
        found[pid] = Process(
            parent=int(fields[1]),
            started=int(fields[19]),
            own=int(fields[11]) + int(fields[12]),
            waited=int(fields[13]) + int(fields[14]),
        )
    return found


class MachineMeter:
    """Reads the machine again and again.

    Args:
        marks: See ``Account``.
    """

    def __init__(self, marks: Sequence[str]) -> None:
        # Other stacks that the gate starts, as one with an autoscaler, are its own, too.
        owner = f"{process_table.OWNER_VARIABLE}={os.getpid()}\0"
        self._account = Account(os.getpid(), [*marks, owner])

    def read(self) -> MachineReading:
        """One reading. Raises ``OSError`` or ``ValueError`` where ``/proc`` is not Linux's."""
        own = self._account.add(processes())
        at = time.time()
        # user, nice, system, idle, iowait, irq, softirq, steal
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
        values = [int(value) / _TICKS for value in line.split()[1:9]]
        throttled, periods = _throttled()
        return MachineReading(
            at=at,
            cores=os.cpu_count() or 1,
            busy_s=sum(values[:3]),
            idle_s=values[3] + values[4],
            steal_s=values[7],
            own_s=own,
            throttled_s=throttled,
            throttled=periods,
            pressure_s=_pressure(),
        )


def _throttled() -> tuple[float, int]:
    """Seconds and periods for which the quota of our own group stopped us; 0 without one."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths[controllers] = path
    for name in _QUOTA_FILES:
        if name not in paths:
            continue
        file = Path("/sys/fs/cgroup") / name / paths[name].lstrip("/") / "cpu.stat"
        try:
            pairs = (line.split() for line in file.read_text().splitlines())
        except OSError:
            continue
        counts = {pair[0]: int(pair[1]) for pair in pairs}
        seconds = counts.get("throttled_time", 0) / 1e9 + counts.get("throttled_usec", 0) / 1e6
        return seconds, counts.get("nr_throttled", 0)
    return 0.0, 0


def _pressure() -> float | None:
    try:
        text = Path("/proc/pressure/cpu").read_text()
    except OSError:
        return None
    return int(text.split("\n", 1)[0].rpartition("total=")[2]) / 1e6
