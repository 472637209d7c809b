"""The coordinator's side of distributed evaluation: starts and monitors the driver process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Final

from ga.digits import whole
from ga.errors import ClusterError, InputError
from ga.evaluation.settings import Settings
from ga.execution.forkserver import ignoring_interrupts
from ga.execution.protocol import (
    PATIENCE_SECONDS,
    BatchResult,
    NodeReport,
    SuspendAwareClock,
    UnansweredAttempts,
    failed_attempt,
)
from ga.execution.ray.driver import main
from ga.execution.ray.fleet import COLD_SECONDS
from ga.execution.ray.messages import (
    AuthRejected,
    ClusterLost,
    Dispatched,
    Done,
    DriverSpec,
    Heartbeat,
    Ready,
)
from ga.genome import Genome
from ga.market import Market

_START_SECONDS: Final = COLD_SECONDS + 60.0
SILENT_SECONDS: Final = 30.0
"""Seconds without a message after which the driver counts as hung and is killed."""
_CONNECT_SECONDS: Final = 3.0
_CLOSE_SECONDS: Final = 10.0


def check_address(address: str) -> None:
    """Refuse an address on which nothing listens.

    Raises:
        InputError: not ``host:port``, or no answer.
    """
    host, _, digits = address.rpartition(":")
    port = whole(digits)
    if not host or port is None or not 0 < port < 65536:
        raise InputError(
            f"--address {address}: give HOST:PORT of the cluster, such as 10.0.0.1:6379"
        )
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        # UnicodeError: no name of a host, since a label is empty or has over 63 characters.
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({reason});"
            " start one, or use --mode local"
        ) from None


class ClusterEvaluator:
    """Batches as stateless Ray tasks, sent by a separate driver process."""

    def __init__(
        self,
        *,
        market: Market,
        settings: Settings,
        families: Sequence[str],
        address: str | None = None,
        workers: int | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        if find_spec("ray") is None:
            raise InputError(
                "--mode distributed needs Ray; run: python -m pip install 'evolution-gate[ray]'"
            )
        if address is not None:
            check_address(address)
        elif workers is None:
            workers = os.cpu_count() or 1
        self._address = address
        spec = DriverSpec(
            address=address,
            workers=workers,
            market=market,
            settings=settings,
            families=tuple(families),
            patience=patience,
        )
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs, spec), name="ga-driver")
        with ignoring_interrupts():
            self._process.start()
        theirs.close()
        self._slots = 0
        self._ended = False
        self._unanswered_attempts: UnansweredAttempts = {}
        self._nodes: list[NodeReport] = []

    @property
    def mode(self) -> str:
        """See ``Evaluator``."""
        return "distributed"

    @property
    def workers(self) -> int:
        """See ``Evaluator``."""
        return self._slots

    @property
    def unanswered_attempts(self) -> UnansweredAttempts:
        """See ``Evaluator``."""
        return self._unanswered_attempts

    @property
    def nodes(self) -> Sequence[NodeReport]:
        """See ``Evaluator``."""
        return self._nodes

    def warm_up(self) -> None:
        """Wait until the driver is connected and every worker has loaded market and kernels.

        Raises:
            ClusterError: the cluster is lost.
            InputError: the cluster rejects our token.
        """
        deadline = time.monotonic() + _START_SECONDS
        while True:
            message = self._receive(max(0.0, deadline - time.monotonic()))
            if isinstance(message, Ready):
                self._slots = message.slots
                return

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        """See ``Evaluator``."""
        dispatched: dict[int, list[str]] = {}
        outcome, why = "withdrawn", "its result was no longer needed"
        try:
            yield from self._answers(genomes, dispatched)
        except ClusterError as error:
            outcome, why = "lost", str(error)
            raise
        finally:
            self._unanswered_attempts = {
                index: tuple(failed_attempt(node, outcome, why) for node in nodes)
                for index, nodes in dispatched.items()
            }

    def _answers(
        self, genomes: Sequence[Genome], dispatched: dict[int, list[str]]
    ) -> Iterator[BatchResult]:
        """Yield the results; ``dispatched`` maps each unanswered genome to its nodes."""
        try:
            self._connection.send(("evaluate", tuple(genomes)))
        except OSError as error:
            raise self._lost(f"driver process is gone ({error})") from None
        while True:
            message = self._receive(SILENT_SECONDS)
            if isinstance(message, Dispatched):
                for index in message.indices:
                    dispatched.setdefault(index, []).append(message.node)
            elif isinstance(message, BatchResult):
                for index in message.indices:
                    del dispatched[index]
                yield message
            elif isinstance(message, Done):
                return

    def close(self) -> None:
        """See ``Evaluator``. Ends the driver, by force if it does not react.

        May be called from another thread; a waiting thread then gets ``ClusterError``.
        """
        if self._slots and self._process.is_alive():
            try:
                self._connection.send(("close",))
            except OSError:
                # It died in between; only its remains must be ended.
                self._kill()
            self._process.join(_CLOSE_SECONDS)
        self._kill()

    def _receive(self, seconds: float) -> object:
        try:
            if not self._heard(seconds):
                raise self._lost(f"driver silent for {seconds:.0f} s")
            message = self._connection.recv()
        except (EOFError, OSError):
            raise self._lost("driver process died") from None
        if isinstance(message, ClusterLost):
            raise self._lost(message.reason)
        if isinstance(message, AuthRejected):
            self._kill()
            raise InputError(
                f"--address {self._address}: the cluster refuses this token;"
                " set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with the cluster's"
            )
        if isinstance(message, NodeReport):
            self._nodes.append(message)
        if isinstance(message, Heartbeat | Done):
            self._slots = message.slots
        return message

    def _heard(self, seconds: float) -> bool:
        """Whether a message arrives within a number of seconds in which this process was
        running.
        """
        clock = SuspendAwareClock()
        while clock() < seconds:
            if self._connection.poll(0.5):
                return True
        return False

    def _kill(self) -> None:
        """End the driver and everything that it started. Only once, because its pid may be reused
        after that.
        """
        driver = self._process.pid
        if self._ended or driver is None:
            return
        self._ended = True
        with contextlib.suppress(ProcessLookupError):
            # Its group does not exist yet, or has ended.
            os.killpg(driver, signal.SIGKILL)
        self._process.kill()
        self._process.join()

    def _lost(self, reason: str) -> ClusterError:
        self._kill()
        return ClusterError(f"cluster lost: {reason}")
