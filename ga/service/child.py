"""One evolution in a child process: its start, its end, and how long it has worked."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Final

from ga.redaction import redact
from ga.service.job_store import Job
from ga.service.limits import Limits

GRACE: Final = 5.0
"""Seconds that a process has to end after a request, before it is killed."""
_TAIL_BYTES: Final = 2_000


class Child:
    """``python -m ga`` with the arguments of a job.

    Raises:
        OSError: no process can be started.
    """

    def __init__(
        self,
        job: Job,
        command: Sequence[str],
        *,
        resumed: bool,
        env: dict[str, str],
        niceness: int,
    ) -> None:
        self.job, self.resumed = job, resumed
        self.began_at = time.monotonic()
        self._asked_at: float | None = None
        self._seconds = self._quiet_seconds = 0.0
        self._generation = job.generation
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "ga.service.engine_process"),
                    *(str(os.getpid()), str(niceness)),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env=env,
            )
        except BaseException:
            self._errors.close()
            raise

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self.process.poll()

    def overdue(self, job: Job, seconds: float, limits: Limits) -> str | None:
        """Count ``seconds`` more of work; why the job has to end, None if it may go on.

        Only seconds in which the database answered are to be counted: without it no evolution can
        commit a generation.
        """
        self._seconds += seconds
        self._quiet_seconds += seconds
        if job.generation != self._generation:
            self._generation, self._quiet_seconds = job.generation, 0.0
        if self._seconds > limits.seconds:
            return f"ended by the service: it took more than {limits.seconds:,} s (--max-seconds)"
        if self._quiet_seconds > limits.quiet_seconds:
            stage = (
                "its market was loaded and its first generation evolved"
                if self._generation == 0
                else "a generation evolved"
            )
            return (
                f"ended by the service: {limits.quiet_seconds:,} s passed before {stage}"
                " (--max-quiet-seconds)"
            )
        return None

    def end(self, *, at_once: bool = False) -> bool:
        """Ask it to end, and kill it when it has not done so in time; call it again and again.

        Returns:
            False if it outlives the kill: it waits in the kernel, for example for a network volume.
        """
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self.process.terminate()
        elif now - self._asked_at > 2 * GRACE:
            return False
        elif at_once or now - self._asked_at > GRACE:
            self.process.kill()
        return True

    def last_line(self) -> str:
        """The last line that it wrote on stderr."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return redact(lines[-1].removeprefix("ga: ").replace("\0", "")) if lines else ""

    def close(self) -> None:
        """Release its file."""
        self._errors.close()


def end_all(children: Sequence[Child], *, hurried: Callable[[], bool]) -> None:
    """End children together, and wait for their end; one that outlives its kill is left.

    Args:
        hurried: whether to kill them at once.
    """
    going = list(children)
    while going := [
        child for child in going if child.status is None and child.end(at_once=hurried())
    ]:
        time.sleep(0.02)
    for child in children:
        child.close()
