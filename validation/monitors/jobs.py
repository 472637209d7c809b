"""A thread that submits a tiny job to every declared node, again and again, and checks it."""

from __future__ import annotations

import hashlib
import json
import secrets
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, Self

from evolution_gate.fixtures.protocols import Stack, StackError
from validation.evidence.log import Sink
from validation.evidence.records_monitoring import Job
from validation.limits import ANSWER_S

PERIOD_S: Final = 10.0
"""From the start of one job to that of the next."""
NAME: Final = "jobs"
"""Name of the thread."""
_SCRIPT: Final = Path(__file__).parents[1] / "scripts" / "job_probe.py"
_CONNECT_S: Final = 45.0
"""A driver imports Ray and connects; on a busy machine that takes many seconds."""


class Jobs(Protocol):
    """Something that runs a job on every node."""

    def run(self, nonce: str, seconds: float) -> tuple[Mapping[str, str], str]:
        """Node to its answer, and why answers are missing; takes at most about so long."""

    def close(self) -> None:
        """End what was started."""


class DriverJobs:
    """Jobs by a driver process that stays connected to the cluster; a lost one is replaced."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._process: subprocess.Popen[str] | None = None

    def run(self, nonce: str, seconds: float) -> tuple[Mapping[str, str], str]:
        """Node to its answer, and why answers are missing."""
        if self._process is None and (why := self._connect()):
            return {}, why
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(f"{nonce} {seconds}\n")
            process.stdin.flush()
            line = self._line(seconds + 1.0)
            answer = json.loads(line) if line else {}
        except (OSError, ValueError) as error:
            self.close()
            return {}, f"the driver of the jobs ended: {type(error).__name__}"
        if answer.get("nonce") != nonce:
            self.close()
            return {}, "the driver of the jobs does not answer"
        return dict(answer["answers"]), ""

    def close(self) -> None:
        """End the driver."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _connect(self) -> str:
        """Start the driver; empty, or why it is not connected."""
        nodes = json.dumps({node.name: node.address for node in self._stack.nodes})
        argv = [sys.executable, "-c", _SCRIPT.read_text(), self._stack.endpoints.ray, nodes]
        try:
            self._process = self._stack.driver(
                argv, self._stack.endpoints.env, stdin=subprocess.PIPE
            )
        except (StackError, OSError) as error:
            return f"no driver could be started: {str(error).splitlines()[0]}"
        if self._line(_CONNECT_S) == "ready":
            return ""
        self.close()
        return f"no driver could connect in {_CONNECT_S:.0f} s"

    def _line(self, seconds: float) -> str:
        """The next line; empty when there is none in time, or no more."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        return process.stdout.readline().strip() if ready else ""


def expected(nonce: str, node: str) -> str:
    """The right answer of a node, computed here."""
    return hashlib.sha256(f"{nonce}/{node}".encode()).hexdigest()


def ask(jobs: Jobs, nodes: Sequence[str], *, limit: float = ANSWER_S) -> Job:
    """Run one job on every node and check the answers."""
    nonce, asked_at, began = secrets.token_hex(8), time.time(), time.monotonic()
    answers, why = jobs.run(nonce, limit)
    seconds = time.monotonic() - began
    right = tuple(node for node in nodes if answers.get(node) == expected(nonce, node))
    wrong = tuple(node for node in nodes if node in answers and node not in right)
    missing = tuple(node for node in nodes if node not in answers)
    return Job(
        asked_at=asked_at, seconds=seconds, right=right, wrong=wrong, missing=missing, detail=why
    )


class JobMonitor:
    """Runs jobs inside a ``with`` block.

    Args:
        jobs: How they are run; a driver on the stack if None.
    """

    def __init__(
        self, stack: Stack, writer: Sink, *, jobs: Jobs | None = None, period: float = PERIOD_S
    ) -> None:
        self._nodes = tuple(node.name for node in stack.nodes)
        self._writer, self._period = writer, period
        self._jobs: Jobs = DriverJobs(stack) if jobs is None else jobs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._error: BaseException | None = None

    def steady(self, seconds: float) -> bool:
        """Wait until a job ends right on every node; False when none has after ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if len(ask(self._jobs, self._nodes).right) == len(self._nodes):
                return True
            time.sleep(0.5)
        return False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._jobs.close()
        # A monitor that failed must not look like one without events.
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._writer.add(ask(self._jobs, self._nodes))
                self._stop.wait(max(0.0, self._period - (time.monotonic() - began)))
        except BaseException as error:
            self._error = error
