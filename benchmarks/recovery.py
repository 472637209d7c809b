"""Recovery times of a killed node: until it is detected, until it is back, and until its work is
redone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from evolution_gate.fixtures.protocols import Node, Stack

PATIENCE: Final = 30.0
_REDONE_SECONDS: Final = 60.0

Say = Callable[[str], None]


class ArmError(RuntimeError):
    """An arm did not finish; the message ends with its output."""


def start(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a command that uses a stack."""
    return subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def recover(stack: Stack, number: int, say: Say) -> tuple[float, float]:
    """Kill a node, and start it again when the cluster reports it as gone; returns the seconds
    until gone, and until back.
    """
    node = stack.nodes[number % len(stack.nodes)]
    say(f"recovery {number + 1}: {node.name}")
    killed = _kill(node)
    gone = _until(
        lambda: node.name not in stack.alive_nodes(), f"{node.name} was not reported as gone"
    )
    node.start()
    back = _until(lambda: node.name in stack.alive_nodes(), f"{node.name} did not come back")
    return gone - killed, back - killed


def lose_work(stack: Stack, work: Sequence[str], kills: int, say: Say) -> tuple[float, ...]:
    """Kill one node after the other during a long evolution, each with batches in flight.

    Args:
        work: options of an evolution that lasts until it is ended here.

    Returns:
        Seconds from each kill until other nodes had answered all its batches.
    """
    found: list[float] = []
    with tempfile.TemporaryDirectory(prefix="ga-benchmark-") as folder:
        batches = Batches(Path(folder) / "log.jsonl")
        argv = [sys.executable, "-m", "ga", "evolve", *work, "--log", str(batches.path)]
        argv += ["--store", str(Path(folder) / "ledger.db")]
        argv += ["--mode", "distributed", "--address", stack.endpoints.ray]
        process = start(argv, stack.endpoints.env)
        try:
            while len(found) < kills:
                # In turn, so that the previous node has time to come back.
                node = stack.nodes[(len(found) + 1) % len(stack.nodes)]
                busy = partial(_works, batches, node.address)
                _until(busy, f"{node.name} was given no work")
                seconds = _redone(batches, node.address, _kill(node), process)
                if seconds is None:
                    say(f"{node.name} had no batch in flight: it does not count")
                else:
                    found.append(seconds)
                    say(f"kill {len(found)}/{kills}: {node.name}, redone after {seconds:.1f} s")
                node.start()
        finally:
            process.kill()
            process.communicate()
    return tuple(found)


class Batches:
    """The batches in a growing run log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        self._known: list[dict[str, Any]] = []

    def __call__(self) -> list[dict[str, Any]]:
        """All batches so far, in the order of their answers."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._at)
                whole = file.read().rpartition(b"\n")[0]
            self._at += len(whole) + bool(whole)
            events = (json.loads(line) for line in whole.splitlines() if line)
            self._known += [event for event in events if event["event"] == "batch"]
        return self._known


def redone(batches: Sequence[Mapping[str, Any]], address: str, at: float) -> float | None:
    """Unix seconds at which the last batch of a node at its kill was answered.

    None while it is unknown. A generation waits for all its batches: when the second generation
    after the kill has begun, all batches of the node have been answered.

    Args:
        at: Unix seconds of the kill.

    Raises:
        LookupError: it had no batch.
    """
    killed_in = max((b["generation"] for b in batches if b["at"] <= at), default=0)
    lost = [b for b in batches if any(t["node"] == address and t["at"] >= at for t in b["tried"])]
    if not batches or batches[-1]["generation"] < killed_in + 2:
        return None
    if not lost:
        raise LookupError(f"{address} had nothing")
    return float(max(b["finished_at"] for b in lost))


def _redone(
    batches: Batches, address: str, at: float, process: subprocess.Popen[str]
) -> float | None:
    """Seconds from a kill until its work is redone; None if the node had no batch."""
    deadline = time.monotonic() + _REDONE_SECONDS
    while True:
        try:
            seen = redone(batches(), address, at)
        except LookupError:
            return None
        if seen is not None:
            return seen - at
        if process.poll() is not None:
            raise ArmError(f"the run ended when {address} was killed")
        if time.monotonic() > deadline:
            raise ArmError(f"what {address} had was not redone in {_REDONE_SECONDS:.0f} s")
        time.sleep(0.1)


def _works(batches: Batches, address: str) -> bool:
    """Whether a node has just answered a batch, so that it has the next one."""
    return any(b["node"] == address and b["at"] > time.time() - 0.2 for b in batches()[-20:])


def _kill(node: Node) -> float:
    """Kill a node; returns the Unix seconds of the request."""
    receipt = node.kill()
    if not receipt.confirmed:
        raise ArmError(f"the kill of {node.name} is not confirmed: {receipt.detail}")
    return receipt.requested_at


def _until(seen: Callable[[], bool], otherwise: str) -> float:
    """Wait for a condition; returns the Unix seconds at which it was true."""
    deadline = time.monotonic() + PATIENCE
    while not seen():
        if time.monotonic() > deadline:
            raise ArmError(otherwise)
        time.sleep(0.05)
    return time.time()
