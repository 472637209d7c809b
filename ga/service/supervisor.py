"""Runs accepted evolutions in child processes, and resumes those from before a crash."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

import sqlalchemy as sa

from ga.redaction import redact
from ga.service.engine_process import NICENESS
from ga.service.job_store import Job, JobStore
from ga.service.limits import TOKEN_VARIABLE, Limits
from ga.service.models import EvolutionRequest

_POLL: Final = 0.2
_TRIES: Final = 3
"""Attempts per evolution, because a process may fail for lack of database or memory."""
_PAUSE: Final = 2.0
"""Seconds between two attempts."""
_GRACE: Final = 5.0
"""Seconds that a process has to end after a termination request."""
_BAD_INPUT: Final = 2
_TAIL_BYTES: Final = 2_000

Command = Callable[[Job, bool], Sequence[str]]


@dataclass(kw_only=True)
class _Child:
    job: Job
    resumed: bool
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    told_at: float | None = field(default=None)


class Runner:
    """A thread that runs up to ``limits.concurrent`` evolutions, oldest first.

    Args:
        command: job, whether the ledger contains it -> the arguments of ``python -m ga``.
        env: variables for the children, added to the service's environment without its token.
        say: called with messages for the operator.
        held: whether this service still holds the store's lock; if not, no evolution is started.
        niceness: niceness of evolutions, so that the service's requests go first.
    """

    def __init__(
        self,
        store: JobStore,
        limits: Limits,
        *,
        command: Command,
        env: dict[str, str],
        say: Callable[[str], None],
        held: Callable[[], bool] = lambda: True,
        niceness: int = NICENESS,
    ) -> None:
        self._store, self._limits, self._command, self._say = store, limits, command, say
        self._held, self._niceness = held, niceness
        self._env = {k: v for k, v in {**os.environ, **env}.items() if k != TOKEN_VARIABLE}
        self._children: dict[str, _Child] = {}
        self._not_before: dict[str, float] = {}
        self._wake = threading.Event()
        self._stop = threading.Event()
        # PDEATHSIG follows the thread that starts a child, so one thread starts all of them.
        self._thread = threading.Thread(target=self._run, name="evolutions")

    def start(self) -> None:
        """Start; unfinished evolutions of an earlier service are resumed."""
        self._thread.start()

    def wake(self) -> None:
        """Check the jobs now, because one is new or was cancelled."""
        self._wake.set()

    @property
    def alive(self) -> bool:
        """Whether the supervisor is running."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the children; the next service resumes their evolutions."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    if not self._held():
                        self._say("another service uses the store: this one runs no evolutions")
                        return
                    self._step()
                except sa.exc.DBAPIError as error:
                    # No state is lost: the next step reads everything from the database again.
                    self._say(f"database: {redact(str(error.orig))}; trying again")
                    self._stop.wait(1.0)
                self._wake.wait(_POLL)
                self._wake.clear()
        finally:
            for child in self._children.values():
                child.process.terminate()
            for child in self._children.values():
                _await_end(child.process)
                child.errors.close()

    def _step(self) -> None:
        for run, child in list(self._children.items()):
            if child.process.poll() is not None:
                self._ended(child)
                child.errors.close()
                del self._children[run]
        wanted = {job.run: job for job in self._store.unfinished(self._limits.queued)}
        now = time.monotonic()
        for run, child in self._children.items():
            if run in wanted:
                continue
            if child.told_at is None:
                child.told_at = now
                child.process.terminate()
            elif now - child.told_at > _GRACE:
                child.process.kill()
        for job in wanted.values():
            if len(self._children) >= self._limits.concurrent:
                return
            if job.run not in self._children and self._not_before.get(job.run, 0.0) <= now:
                self._begin(job)

    def _begin(self, job: Job) -> None:
        if not self._store.move(job.run, "running"):
            return
        resumed = self._store.begun(job.run)
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._children[job.run] = _Child(
            job=job,
            resumed=resumed,
            errors=errors,
            process=subprocess.Popen(
                [
                    *(sys.executable, "-m", "ga.service.engine_process"),
                    *(str(os.getpid()), str(self._niceness)),
                    *self._command(job, resumed),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._env,
            ),
        )

    def _ended(self, child: _Child) -> None:
        job, status = child.job, child.process.returncode
        if status == 0:
            self._store.move(job.run, "finished")
        else:
            error = _last_line(child.errors) or f"its process ended with status {status}"
            tries = job.tries + 1
            # The database, which evolution and service share, may have been unreachable.
            bad = status == _BAD_INPUT and not child.resumed and not error.startswith("--store")
            if bad or tries >= _TRIES:
                self._store.move(job.run, "failed", error=error, tries=tries)
            else:
                self._store.move(job.run, "queued", error=error, tries=tries)
                self._not_before[job.run] = time.monotonic() + _PAUSE
                return
        self._not_before.pop(job.run, None)


def engine_command(
    limits: Limits, *, address: str | None, workers: int | None
) -> Callable[[Job, bool], list[str]]:
    """The arguments of ``python -m ga`` for a job. No value can be parsed as an option."""

    def command(job: Job, resumed: bool) -> list[str]:
        request = EvolutionRequest.model_validate(job.body)
        run = ["--json", f"--mode={request.mode}"]
        run += [] if address is None else [f"--address={address}"]
        run += [] if workers is None else [f"--workers={workers}"]
        if resumed:
            return ["resume", job.run, *run]
        wanted = {
            "market": limits.market(request.market),
            "assets": None if request.assets is None else ",".join(request.assets),
            "start": request.start,
            "end": request.end,
            "timeframe": request.timeframe,
            "population-size": request.population_size,
            "generations": request.generations,
            "seed": request.seed,
            "families": None if request.families is None else ",".join(request.families),
            "folds": request.folds,
            "fee": request.fee,
            "slippage": request.slippage,
            "run-id": job.run,
            "max-cells": limits.cells,
        }
        options = [f"--{name}={value}" for name, value in wanted.items() if value is not None]
        return ["evolve", *run, *options]

    return command


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TAIL_BYTES))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return redact(lines[-1].removeprefix("ga: ").replace("\0", "")) if lines else ""
