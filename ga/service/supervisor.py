"""Runs accepted evolutions in child processes, and resumes those from before a crash."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ga.errors import InputError
from ga.redaction import redact
from ga.service.child import Child, end_all
from ga.service.database_watch import ERRORS, DatabaseWatch
from ga.service.engine_process import NICENESS
from ga.service.job_store import Job, JobStore
from ga.service.limits import TOKEN_VARIABLE, Limits
from ga.service.models import EvolutionRequest

_POLL: Final = 0.2
_TRIES: Final = 3
"""Attempts per evolution, because a process may fail for lack of memory."""
_SPARED: Final = 100
"""Failures for lack of the database that do not count as attempts."""
_PAUSE: Final = 2.0
"""Seconds between two attempts."""
_AFTER_ERROR: Final = 1.0
_COUNTED: Final = 1.0
"""Most seconds between two steps that count as work of an evolution."""
_BAD_INPUT: Final = 2

Command = Callable[[Job, bool], Sequence[str]]


class Runner:
    """A thread that runs up to ``limits.concurrent`` evolutions, oldest first.

    No error ends it: it reads everything from the database again in the next step.

    Args:
        command: job, whether the ledger contains it -> the arguments of ``python -m ga``.
        env: variables for the children, added to the service's environment without its token.
        say: called with messages for the operator, once for each change.
        watch: whether the database answers.
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
        watch: DatabaseWatch | None = None,
        held: Callable[[], bool] = lambda: True,
        niceness: int = NICENESS,
    ) -> None:
        self._store, self._limits, self._command, self._say = store, limits, command, say
        self._watch, self._held, self._niceness = watch, held, niceness
        self._env = {k: v for k, v in {**os.environ, **env}.items() if k != TOKEN_VARIABLE}
        self._children: dict[str, Child] = {}
        self._not_before: dict[str, float] = {}
        self._spared: dict[str, int] = {}
        self._failures = 0
        self._without_database_at = self._stepped_at = -float("inf")
        self._trouble: str | None = None
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._hurried = threading.Event()
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
        """Whether evolutions are looked after, apart from an outage of the database."""
        return self._thread.is_alive() and self._trouble is None

    @property
    def trouble(self) -> str:
        """Why evolutions are not looked after."""
        return self._trouble or "the job supervisor is not running; restart the service"

    def end(self, *, at_once: bool = False) -> None:
        """Begin to end the children, ``at_once`` without waiting for an orderly end."""
        if at_once:
            self._hurried.set()
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """End the children; the next service resumes their evolutions."""
        self.end()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._round()
                self._wake.wait(_POLL)
                self._wake.clear()
        finally:
            end_all(list(self._children.values()), hurried=self._hurried.is_set)

    def _round(self) -> None:
        """One step, or the report of why there is none."""
        if self._watch is not None and self._watch.away is not None:
            self._without_database_at = time.monotonic()
            return
        trouble = None
        try:
            if self._held():
                self._step()
            else:
                trouble = "another service uses the store: this one runs no evolutions meanwhile"
                self._without_database_at = time.monotonic()
                self._reap({})
            self._failures = 0
        except ERRORS as error:
            self._without_database_at = time.monotonic()
            self._failures += 1
            if self._watch is not None:
                self._watch.suspect()
            # The first is that of a session which an outage ended; the watch reports outages.
            if self._failures > 1 and (self._watch is None or self._watch.away is None):
                trouble = f"database: {_one_line(getattr(error, 'orig', None) or error)}"
        except Exception as error:
            # An error here must not end the service's work; readiness and this line report it.
            self._failures += 1
            trouble = f"evolutions: {type(error).__name__}: {_one_line(error)}"
        if trouble is not None and trouble != self._trouble:
            self._say(f"{trouble}; trying again")
        elif trouble is None and self._trouble is not None:
            self._say("evolutions are looked after again")
        self._trouble = trouble
        if self._failures:
            self._stop.wait(_AFTER_ERROR)

    def _step(self) -> None:
        for run, child in list(self._children.items()):
            if child.status is not None:
                self._ended(child)
                child.close()
                del self._children[run]
        wanted = {job.run: job for job in self._store.unfinished(self._limits.queued)}
        now = time.monotonic()
        passed, self._stepped_at = min(now - self._stepped_at, _COUNTED), now
        for run, child in self._children.items():
            if run in wanted and (why := child.overdue(wanted[run], passed, self._limits)):
                self._store.move(run, "failed", error=why)
                del wanted[run]
        self._reap(wanted)
        for job in wanted.values():
            if len(self._children) >= self._limits.concurrent:
                return
            if job.run not in self._children and self._not_before.get(job.run, 0.0) <= now:
                self._begin(job)

    def _reap(self, wanted: Mapping[str, Job]) -> None:
        """End the children that are not wanted any more."""
        for run, child in list(self._children.items()):
            if run not in wanted and child.status is None and not child.end():
                self._say(f"run {run}: process {child.process.pid} outlives its kill; left alone")
                child.close()
                del self._children[run]

    def _begin(self, job: Job) -> None:
        if not self._store.move(job.run, "running"):
            return
        resumed = self._store.begun(job.run)
        try:
            command = self._command(job, resumed)
        except InputError as error:
            # For example its market file, which was there when the job was accepted.
            self._store.move(job.run, "failed", error=_one_line(error))
            return
        self._children[job.run] = Child(
            job, command, resumed=resumed, env=self._env, niceness=self._niceness
        )

    def _ended(self, child: Child) -> None:
        job, status = child.job, child.status
        if status == 0:
            self._store.move(job.run, "finished")
        else:
            error = child.last_line() or _how_ended(status or 0)
            spared, tries = self._spared.get(job.run, 0), job.tries + 1
            if self._for_lack_of_database(child, error) and spared < _SPARED:
                self._requeue(job, error, tries, pause=_PAUSE * min(spared + 1, 15))
                self._spared[job.run] = spared + 1
                return
            bad = status == _BAD_INPUT and not child.resumed
            if not bad and tries - spared < _TRIES:
                self._requeue(job, error, tries, pause=_PAUSE)
                return
            self._store.move(job.run, "failed", error=error, tries=tries)
        self._not_before.pop(job.run, None)
        self._spared.pop(job.run, None)

    def _requeue(self, job: Job, error: str, tries: int, *, pause: float) -> None:
        self._store.move(job.run, "queued", error=error, tries=tries)
        self._not_before[job.run] = time.monotonic() + pause

    def _for_lack_of_database(self, child: Child, error: str) -> bool:
        """Whether a failure says nothing of the job: the database was away, or an earlier session
        of it still had the run.
        """
        run = f"run {child.job.run}"
        told = f"{run}: the ledger could not", f"{run}: another process", f"{run} is being evolved"
        return self._without_database_at >= child.began_at or error.startswith(("--store", *told))


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


def _how_ended(status: int) -> str:
    if status == -signal.SIGKILL:
        return "its process was killed, for example for lack of memory"
    return f"its process ended with status {status}"


def _one_line(error: object) -> str:
    return redact(" ".join(str(error).split()))[:300]
