"""A run of ``python -m ga`` on a real stack, which can be watched, resumed and asked for rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from evolution_gate import fixtures
from evolution_gate.fixtures import Receipt, Stack
from evolution_gate.fixtures.faults.disk_full import Volume
from evolution_gate.fixtures.services.datastores import start_redis
from tests.support.ledger_stores import Server
from tests.support.waiting import wait_at_most, wait_until

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 240.0
_CPUS = 0.8


class Ground:
    """The stack that the runs of a module share; one whose head is dead is replaced."""

    def __init__(self) -> None:
        self.stack: Stack = fixtures.start_stack(nodes=2, cpus_per_node=_CPUS, backend="processes")
        self.headless = False

    volume: Volume | None = None
    """Where ledgers of SQLite are kept; None: this machine gives us none."""

    def kill_head(self) -> Receipt:
        self.headless = True
        return self.stack.kill_head()

    def restore(self) -> None:
        """All of it is there again."""
        if self.headless:
            self.stack.close()
            self.__init__()
        for node in self.stack.nodes:
            self.revive(node)

    def revive(self, node: fixtures.Node) -> list[Receipt]:
        """A node as good as new, whatever was done to it."""
        if node.alive and node.name in self.stack.alive_nodes():
            return []
        receipt = node.start()
        assert receipt.confirmed, receipt
        return [receipt]


class Evolving:
    """One run, and what was done to it. A context manager: no process of it outlives it.

    Args:
        store: a URL.
        server: the PostgreSQL of the store, if it is not SQLite.
        module: ``ga``, or what stands for it.
    """

    def __init__(
        self, ground: Ground, store: str, folder: Path, server: Server | None, module: str = "ga"
    ) -> None:
        self.ground, self.store, self.server = ground, store, server
        self.redis = start_redis("ga-fault-tests", folder)
        self.receipts: list[Receipt] = []
        self.resumed = 0
        self._folder, self._module = folder, module
        self._log = folder / "log.jsonl"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Evolving:
        return self

    def __exit__(self, *_: object) -> None:
        for process in filter(None, (self._process, self.redis.process)):
            process.kill()
            process.wait()

    def start(self, *argv: str) -> None:
        """Begin the run on the cluster."""
        self._launch("evolve", *argv, "--json", "--top", "0")

    def _launch(self, *argv: str, local: bool = False) -> None:
        cluster = ("--mode", "local", "--workers", "2")
        if not (local or self.ground.headless):
            cluster = ("--mode", "distributed", "--address", self.ground.stack.endpoints.ray)
        env = {**os.environ, **self.ground.stack.endpoints.env, "PYTHONPATH": str(ROOT)}
        env |= {"GA_STORE": self.store, "GA_CACHE_URL": self.redis.url}
        with (self._folder / "out").open("ab") as out, (self._folder / "err").open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *argv, *cluster, "--log", str(self._log)],
                env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            )  # fmt: skip

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the run was not started"
        return self._process

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the run has logged so far, over all its processes."""
        lines = self._log.read_text().splitlines(keepends=True) if self._log.exists() else []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if event["event"] == kind]

    def go_on(self, batches: int) -> bool:
        """Wait until this number of further batches is done; False if the run is over before."""
        wanted = len(self.events("batch")) + batches
        wait_until(
            lambda: self.over or len(self.events("batch")) >= wanted,
            seconds=RUN_SECONDS,
            what=self.said,
        )
        return not self.over

    def next_generation(self, ahead: int = 1) -> bool:
        """Wait for the first answer in the next one, or further ahead; False if the run is over
        before. The one before is being committed then, or just was."""
        batches = self.events("batch")
        now = batches[-1]["generation"] if batches else 0
        wait_until(
            lambda: self.over or self._reached(now + ahead), seconds=RUN_SECONDS, what=self.said
        )
        return not self.over

    def _reached(self, generation: int) -> bool:
        return any(batch["generation"] >= generation for batch in self.events("batch"))

    def start_goes_on(self, seconds: float) -> None:
        """Wait so long at most: the start is over with the first answer."""
        begun = len(self.events("batch"))
        wait_at_most(lambda: len(self.events("batch")) != begun, seconds=seconds, every=0.01)

    def said(self) -> str:
        return (self._folder / "err").read_text()[-2000:]

    def finish(self) -> None:
        """Wait for the end of the run."""
        wait_until(lambda: self.over, seconds=RUN_SECONDS, what=self.said)
        assert self.process.returncode == 0, self.said()

    def resume(self, *, local: bool = False) -> None:
        """Go on with a run whose coordinator was killed; on the cluster, if there is one."""
        self.resumed += 1
        (run,) = {event["run"] for event in self.events("ready")}
        self._launch("resume", run, "--json", "--top", "0", local=local)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        engine = sa.create_engine(self.store)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(sa.text(query))]
        engine.dispose()
        return found
