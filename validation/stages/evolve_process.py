"""One monitored evolve process: start it, follow its batch log, and read its result."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system import process_table
from evolution_gate.fixtures.system.environment import DATABASE, inherited
from evolution_gate.fixtures.system.launch import run, spawn

OUT_OF_MEMORY: Final = ("OutOfMemoryError", "MemoryError", "oom-kill", "out of memory")
_WEIGH_S: Final = 1.0
"""Seconds between readings of a process's memory, each of which takes about 10 ms."""
LOCAL: Final = "local"
"""The engine's name of this machine in its batch log."""
_POLL: Final = 0.1

Launcher = Callable[[Sequence[str], Mapping[str, str]], "subprocess.Popen[str]"]


@dataclass(frozen=True, kw_only=True)
class WorkloadSpec:
    """Options of an evolution. Two workloads of equal seed, market, population and generations must
    have equal histories.
    """

    seed: int
    market: str
    population_size: int
    generations: int
    families: str = ""
    """Comma-separated; empty for all families that the market has the data for."""

    @property
    def individuals(self) -> int:
        """Number of individuals that must be committed."""
        return self.population_size * self.generations


@dataclass(frozen=True, kw_only=True)
class BatchEvent:
    """One batch of the engine's log."""

    generation: int
    node: str
    """``local``: this machine, after a failover."""
    attempt: int
    size: int
    cpu_seconds: float
    started_at: float
    finished_at: float


@dataclass(frozen=True, kw_only=True)
class NodeEvent:
    """A node's numerics check in the engine's log."""

    node: str
    processor: str
    digest: str
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class EvolveResult:
    """How an evolve process ended."""

    exit_code: int
    started_at: float
    finished_at: float
    run: str | None
    """The run's id in the ledger, known as soon as workers were ready."""
    result: Mapping[str, object]
    """Its JSON from stdout; empty when it failed."""
    error: str | None
    batches: tuple[BatchEvent, ...]
    acknowledged: frozenset[int]
    """Generations that the process reported as committed."""
    fallbacks: tuple[float, ...]
    """Unix seconds of each failover to this machine."""
    checks: tuple[NodeEvent, ...]
    out_of_memory: tuple[str, ...]
    """Output lines that report exhausted memory."""
    memory: tuple[tuple[float, int, int], ...]
    """Unix seconds, bytes held by the process and its children, generations committed."""

    def number(self, name: str) -> float:
        """A number of the result; 0 when the process failed before it wrote one."""
        value = self.result.get(name, 0.0)
        return float(value) if isinstance(value, int | float) else 0.0

    @property
    def local_generations(self) -> tuple[int, ...]:
        """Generations of which this machine evaluated a batch."""
        return tuple(sorted({b.generation for b in self.batches if b.node == LOCAL}))

    @property
    def digest(self) -> str | None:
        """The history digest that the process reported."""
        value = self.result.get("digest")
        return value if isinstance(value, str) else None


@dataclass
class _Log:
    """The growing batch log of a running process."""

    path: Path
    offset: int = 0
    run: str | None = None
    ready_at: float | None = None
    generation_at: float | None = None
    fallbacks: list[float] = field(default_factory=list)
    batches: list[BatchEvent] = field(default_factory=list)
    acknowledged: dict[int, float] = field(default_factory=dict)
    """Generation to the Unix seconds of its commit."""
    checks: list[NodeEvent] = field(default_factory=list)

    def read(self) -> None:
        """Process the complete lines written since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.offset)
            chunk = file.read()
        end = chunk.rfind(b"\n") + 1
        self.offset += end
        for line in chunk[:end].splitlines():
            self._take(json.loads(line))

    def _take(self, event: Mapping[str, object]) -> None:
        kind, at = event["event"], event["at"]
        assert isinstance(at, float)
        if kind == "ready":
            self.ready_at, self.run = at, str(event["run"])
        elif kind == "generation":
            self.generation_at = at
            number = event["generation"]
            assert isinstance(number, int)
            self.acknowledged[number] = at
        elif kind == "fallback":
            self.fallbacks.append(at)
        elif kind == "node":
            names = NodeEvent.__dataclass_fields__
            self.checks.append(NodeEvent(**{n: event[n] for n in names}))  # type: ignore[arg-type]
        elif kind == "batch":
            names = BatchEvent.__dataclass_fields__
            self.batches.append(BatchEvent(**{n: event[n] for n in names}))  # type: ignore[arg-type]


def launch_local(argv: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process on this machine without limits."""
    return spawn(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The ledger may belong to an attached cluster.
        env=inherited(env, keep=[DATABASE]),
        start_new_session=True,
    )


class Evolve:
    """A running ``python -m ga evolve``. Use it as a context manager: the process never outlives
    the block.
    """

    def __init__(
        self,
        spec: WorkloadSpec,
        *,
        store: str,
        folder: Path,
        name: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cache: Mapping[str, str] | None = None,
        launch: Launcher = launch_local,
    ) -> None:
        self.spec, self.name = spec, name
        self._log = _Log(folder / f"{name}.batches.jsonl")
        # Which strategies are alike is found on one core: it is no part of the work that is timed.
        argv = [sys.executable, "-m", "ga", "evolve", "--json", "--top", "3", "--all"]
        argv += ["--market", spec.market, "--seed", str(spec.seed)]
        argv += ["--population-size", str(spec.population_size)]
        argv += ["--generations", str(spec.generations)]
        if spec.families:
            argv += ["--families", spec.families]
        argv += ["--log", str(self._log.path), *arguments]
        # The URL contains a password, so it is passed in the environment, not on the command line.
        self.started_at = time.time()
        # Without a cache of its own it has none: each workload must do its own work.
        self._process = launch(
            argv, {**env, "GA_STORE": store, "GA_CACHE_URL": "", **(cache or {})}
        )
        self._output: dict[str, str] = {}
        self._closed_at: dict[str, float] = {}
        """Unix seconds at which the last writer had closed the stream."""
        self._readers = [
            threading.Thread(target=self._drain, args=(stream,), daemon=True)
            for stream in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()
        self._memory: list[tuple[float, int]] = []
        """Unix seconds and bytes of each reading."""
        self._ended = threading.Event()
        self._weigher = threading.Thread(target=self._weigh, daemon=True)
        self._weigher.start()

    def __enter__(self) -> Evolve:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._ended.set()
        self._weigher.join()
        for reader in self._readers:
            reader.join()

    @property
    def running(self) -> bool:
        """Whether the process is still running."""
        return self._process.poll() is None

    @property
    def run(self) -> str | None:
        """The run's id in the ledger; None before its workers are ready."""
        self._log.read()
        return self._log.run

    @property
    def ready_at(self) -> float | None:
        """Unix seconds at which its workers were ready; None before."""
        self._log.read()
        return self._log.ready_at

    @property
    def batches(self) -> Sequence[BatchEvent]:
        """Batches finished so far."""
        self._log.read()
        return self._log.batches

    @property
    def generation_at(self) -> float | None:
        """Unix seconds of the last committed generation."""
        self._log.read()
        return self._log.generation_at

    def wait_ready(self, timeout: float) -> bool:
        """Wait until its workers are ready; False when it ended or the time ran out before."""
        deadline = time.monotonic() + timeout
        while self.ready_at is None:
            if not self.running or time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def finish(self, timeout: float) -> EvolveResult:
        """Wait for the end; a process that takes longer than ``timeout`` seconds is killed."""
        error = None
        try:
            self._await_end(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            error = f"killed by the gate after {timeout:.0f} s"
        finished_at = time.time()
        self._ended.set()
        self._weigher.join()
        for reader in self._readers:
            reader.join()
        # It may have ended long before this call.
        finished_at = min(finished_at, self._closed_at["stdout"])
        self._log.read()
        code = self._process.returncode
        stdout, stderr = self._output["stdout"], self._output["stderr"]
        result: Mapping[str, object] = {}
        if code == 0:
            try:
                result = json.loads(stdout)
            except json.JSONDecodeError as problem:
                error = f"its stdout is not one JSON object: {problem}"
        elif error is None:
            lines = [line for line in stderr.strip().splitlines() if line.strip()]
            error = lines[-1] if lines else f"exit status {code}"
        return EvolveResult(
            exit_code=code,
            started_at=self.started_at,
            finished_at=finished_at,
            run=self._log.run,
            result=result,
            error=error,
            batches=tuple(self._log.batches),
            acknowledged=frozenset(self._log.acknowledged),
            fallbacks=tuple(self._log.fallbacks),
            checks=tuple(self._log.checks),
            out_of_memory=tuple(
                line for line in stderr.splitlines() if any(w in line for w in OUT_OF_MEMORY)
            ),
            memory=tuple(
                (at, held, sum(done <= at for done in self._log.acknowledged.values()))
                for at, held in self._memory
            ),
        )

    def _await_end(self, timeout: float) -> None:
        """As ``Popen.wait``, which with a time-out polls twenty times a second."""
        if self.running:
            end = os.pidfd_open(self._process.pid)
            try:
                select.select([end], [], [], timeout)
            finally:
                os.close(end)
        self._process.wait(0.0)

    def _weigh(self) -> None:
        """Read the memory of the process until it ends.

        In a container it is no child of this process, so it is found by its command line.
        """
        mark = str(self._log.path)
        while not self._ended.wait(_WEIGH_S):
            roots = {
                pid
                for pid in process_table.everyone()
                if mark in process_table.command(pid) and pid != os.getpid()
            }
            held = sum(
                process_table.resident_bytes(pid)
                for pid in roots | process_table.descendants(roots)
            )
            if held:
                self._memory.append((time.time(), held))

    def _drain(self, stream: str) -> None:
        with getattr(self._process, stream) as pipe:
            self._output[stream] = pipe.read()
        self._closed_at[stream] = time.time()


def refusal_of(market: str, families: str) -> str:
    """Why the engine refuses to evolve these families on a market; empty: it evolves them.

    Two individuals are evolved on this machine.
    """
    argv = [sys.executable, "-m", "ga", "evolve", "--market", market, "--mode", "local"]
    argv += ["--workers", "1", "--population-size", "2", "--generations", "1", "--top", "0"]
    argv += ["--families", families] if families else []
    with tempfile.TemporaryDirectory(prefix="ga-workload-") as folder:
        ended = run(
            [*argv, "--store", str(Path(folder) / "ledger.db"), "--json"],
            capture_output=True,
            env=inherited({"GA_CACHE_URL": ""}),
            check=False,
        )
    lines = ended.stderr.strip().splitlines()
    return "" if ended.returncode == 0 else lines[-1] if lines else f"status {ended.returncode}"
