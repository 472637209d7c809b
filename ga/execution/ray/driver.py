"""The process that owns the Ray driver. The coordinator starts it and monitors its heartbeat.

Ray ends a driver that lost its cluster; in a separate process this does not end the run. Messages
on the pipe: to the driver ``("evaluate", genomes)`` or ``("close",)``; from it ``Ready``,
``Heartbeat``, ``NodeReport``, ``Dispatched``, ``BatchResult``, ``Done``, ``ClusterLost`` and
``AuthRejected``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from ga.evaluation.settings import evaluation_key
from ga.execution.forkserver import ONE_THREAD
from ga.execution.protocol import (
    CostModel,
    warmup_genomes,
)
from ga.execution.ray.auth import refuses
from ga.execution.ray.dispatcher import (
    BEAT_SECONDS,
    STARVED_SECONDS,
    Dispatcher,
)
from ga.execution.ray.fleet import COLD_SECONDS, RayFleet
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


def main(connection: Connection, spec: DriverSpec) -> None:
    """Run the driver until ``close``, or until its coordinator is gone."""
    # Ctrl-C belongs to the coordinator, which then closes us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A separate group with all processes that Ray starts, because some of its agents would outlive
    # it.
    os.setpgid(0, 0)
    # Ray writes notices (a node lost, a task retried) on stdout, which is the coordinator's result.
    os.dup2(2, 1)
    # Ray's processes on this machine inherit the niceness and threads of the local pool. An
    # attached cluster has its own settings.
    os.environ.update({"RAY_worker_niceness": "0", **ONE_THREAD})
    try:
        if spec.address is not None and refuses(spec.address):
            connection.send(AuthRejected())
            return
        driver = _Driver(connection, spec)
        connection.send(Ready(driver.fleet.slots, os.getpid()))
        driver.serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        # The coordinator is gone; nobody reads the message.
        return
    except Exception as error:
        # The coordinator must receive every error and continue without us.
        with contextlib.suppress(BrokenPipeError):
            connection.send(ClusterLost(f"{type(error).__name__}: {error}".splitlines()[0]))


class _Driver:
    def __init__(self, connection: Connection, spec: DriverSpec) -> None:
        self._connection, self._spec = connection, spec
        self._costs = CostModel()
        self.fleet = RayFleet(spec, connection.send)
        self._warm_up()

    def serve(self) -> None:
        """Answer requests until ``close``."""
        while True:
            while not self._connection.poll(BEAT_SECONDS):
                self._beat()
            request = self._connection.recv()
            if request[0] == "close":
                self.fleet.close()
                return
            dispatcher = self._dispatcher(request[1])
            for result in dispatcher.run():
                self._connection.send(result)
            self._connection.send(Done(self.fleet.slots))

    def _on_dispatch(self, indices: tuple[int, ...], node: str) -> None:
        self._connection.send(Dispatched(indices, node))

    def _beat(self) -> None:
        self._connection.send(Heartbeat(self.fleet.slots))

    def _dispatcher(self, genomes: Sequence[Genome]) -> Dispatcher[Any]:
        market, settings = self._spec.market, self._spec.settings
        return Dispatcher(
            fleet=self.fleet,
            costs=self._costs,
            genomes=genomes,
            key=lambda genome: evaluation_key(genome, market.hash, settings),
            patience=self._spec.patience,
            beat=self._beat,
            on_dispatch=self._on_dispatch,
        )

    def _warm_up(self) -> None:
        began = time.monotonic()
        while (warming := self.fleet.warming) or self.fleet.slots == 0:
            waited = time.monotonic() - began
            if waited > STARVED_SECONDS and self.fleet.slots > 0:
                # One node is unhealthy; the others do not wait for it.
                break
            if waited > (COLD_SECONDS if warming else STARVED_SECONDS):
                refused = ", ".join(self.fleet.refused)
                raise TimeoutError(
                    f"no worker node with a CPU was ready after {waited:.0f} s"
                    + (f"; refused: {refused}" if refused else "")
                )
            self._beat()
            time.sleep(BEAT_SECONDS)
        for genome in warmup_genomes(self._spec.families):
            # One after the other and not as a batch, because the estimates are per family.
            for _ in range(2):
                for _result in self._dispatcher([genome]).run():
                    self._beat()
