"""A worked example: the Ray application of another project, with a custom fault and criterion.

    python -m validation own docs/examples/squares.py

starts a stack, runs the application on it, freezes a worker meanwhile, and reports whether the
answers are right. ``python -m validation certify --with docs/examples/squares.py`` shows that the
criterion detects the two mutants at the end of this file.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from evolution_gate.fixtures import Node, Receipt
from evolution_gate.fixtures.system import process_table
from validation import statistics
from validation.contract import CLOCK, RECEIPTS, Criterion, CriterionPlugin, Mutant, Stage
from validation.evidence.base import Record
from validation.evidence.records import Fault
from validation.stages.context import Context
from validation.verdict import InconclusiveError, Records, Status, Verdict

COUNT = 200
FROZEN_S = 1.5
"""Shorter than the time after which a cluster of the fixtures declares a silent worker dead."""
STOP = int(signal.SIGSTOP)
APPLICATION = """
import json, socket, sys, time
import ray

host, _, port = sys.argv[1].rpartition(":")
with socket.create_connection((host, int(port))) as route:
    # By this address the cluster's nodes reach us.
    ours = route.getsockname()[0]
ray.init(address=sys.argv[1], _node_ip_address=ours, log_to_driver=False)

@ray.remote(num_cpus=1)
def square(number):
    time.sleep(0.1)
    return number * number

print("ready", flush=True)
print(json.dumps(ray.get([square.remote(number) for number in range(int(sys.argv[2]))])))
"""


# The observations. Types are checked when a record is written and read.
@dataclass(frozen=True, kw_only=True)
class Squares(Record):
    """The answers of one run of the application."""

    KIND = "squares"
    workload: str
    asked: int
    right: int
    started_at: float
    finished_at: float


# The fault: the kernel confirms it, and its undo always runs.
@contextmanager
def frozen(context: Context, node: Node) -> Iterator[None]:
    """Stop one worker process of a node during the block."""
    before, asked = _worker(node, seconds=5.0), time.time()
    if before is not None:
        _send(before, STOP)
    state = _state(before, "T")
    context.fault(_receipt("freeze", node, asked, before, state, state == "T"), workload="squares")
    try:
        yield
    finally:
        asked = time.time()
        if before is not None:
            _send(before, signal.SIGCONT)
        state = _state(before, "RSD")
        thawed = state in ("R", "S", "D")
        context.fault(_receipt("thaw", node, asked, before, state, thawed), workload="squares")


def _send(process: process_table.ProcessId, what: int) -> None:
    # The cluster may have ended it in the meantime; the state that is read afterwards shows it.
    with suppress(ProcessLookupError):
        os.kill(process.pid, what)


def _state(process: process_table.ProcessId | None, wanted: str) -> str:
    """The kernel's state letter, when it is one of the wanted ones, or after some seconds."""
    deadline = time.monotonic() + 5.0
    while process is not None:
        state = process_table.state(process.pid)
        if state in wanted + "X" or time.monotonic() > deadline:
            return state
        time.sleep(0.02)
    return ""


def _worker(node: Node, *, seconds: float) -> process_table.ProcessId | None:
    """A computing worker. Between two tasks it has another name, so retry until the time limit."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for pid in process_table.descendants({node.pid} if node.pid is not None else set()):
            if (process_table.command(pid) or [""])[0].startswith("ray::square"):
                return process_table.read(pid)
        time.sleep(0.02)
    return None


def _receipt(
    fault: str, node: Node, asked: float, before: object, state: str, confirmed: bool
) -> Receipt:
    return Receipt(
        fault=fault, target=node.name, requested_at=asked, confirmed_at=time.time(),
        confirmed=confirmed, before={"process": str(before)}, after={"state": state},
    )  # fmt: skip


# The stage records the observations, and decides nothing.
def gather(context: Context) -> None:
    """Freeze the worker of a random node while the application runs, and record its answers."""
    node = context.stack.nodes[int(context.rng.integers(len(context.stack.nodes)))]
    began = time.time()
    with context.application(APPLICATION, str(COUNT)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        _worker(node, seconds=60.0)
        time.sleep(float(context.rng.uniform()))
        context.say(f"squares: a worker of {node.name} is frozen")
        with frozen(context, node):
            time.sleep(FROZEN_S)
        out, _ = process.communicate(timeout=120)
    # Only the last line, because Ray may also write notices there.
    answers = json.loads((out.splitlines() or ["[]"])[-1]) if process.returncode == 0 else []
    context.add(
        Squares(
            workload="squares",
            asked=COUNT,
            right=sum(answer == n * n for n, answer in enumerate(answers)),
            started_at=began,
            finished_at=time.time(),
        )
    )


# The verdict is a pure function of the records.
def squares_right(records: Records) -> Verdict:
    """Every square is right, with a worker frozen, by receipt, while they were computed."""
    asked = right = struck = 0
    for record in records:
        freezes = [f for f in record.all(Fault) if f.fault == "freeze" and f.confirmed]
        for run in record.all(Squares):
            asked, right = asked + run.asked, right + run.right
            struck += any(run.started_at <= f.requested_at <= run.finished_at for f in freezes)
    wrong = asked - right
    rate = statistics.proportion(wrong, asked) if asked else None
    if wrong and rate is not None:
        return Verdict(
            status=Status.FAIL,
            measured=f"{wrong} of {asked} wrong",
            interval=(100 * rate.lower, 100 * rate.upper),
            reason="squares were wrong, or missing",
        )
    if rate is None or not struck:
        raise InconclusiveError(
            "no worker was frozen, by receipt, while squares were computed",
            needs="a run of the application with a worker frozen in it, about 15 s",
        )
    return Verdict(
        status=Status.PASS,
        measured=f"{asked} squares right",
        interval=(0.0, 100 * rate.upper),
        reason=f"with a worker frozen in {struck} of the runs",
        budget="no square may be wrong",
    )


# Mutants that it must detect; without one it would block GO.
@contextmanager
def _planted(name: str, value: object) -> Iterator[None]:
    """Replace a global of this file during the block."""
    before = globals()[name]
    globals()[name] = value
    try:
        yield
    finally:
        globals()[name] = before


PLUGIN = CriterionPlugin(
    criteria=(
        Criterion(
            id="squares_right",
            statement="Squares are right although a worker stands still",
            target="0 wrong",
            unit="% wrong",
            clause="our own",
            evidence_needed="one run of the application with a worker frozen, by receipt",
            verdict=squares_right,
            trusts=(CLOCK, RECEIPTS),
        ),
    ),
    records=(Squares,),
    stages=(Stage(name="squares", feeds=("squares_right",), run=gather, seconds=30.0),),
    mutants=(
        Mutant(
            name="one wrong square",
            criterion="squares_right",
            injector=lambda _: _planted(
                "APPLICATION",
                APPLICATION.replace("number * number", "number * number + (number == 7)"),
            ),
        ),
        Mutant(
            name="a fault that does not happen",
            criterion="squares_right",
            injector=lambda _: _planted("STOP", 0),
            expects="INCONCLUSIVE",
        ),
    ),
)
