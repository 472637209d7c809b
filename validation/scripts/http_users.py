"""Locust users of the HTTP service: most read, some submit small evolutions and follow them.

``GA_LOAD_OUT`` names the JSON file for the duration of every request. The token is read from the
environment, as by the service.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from locust import FastHttpUser, between, events, task

SMALL = {
    "market": "synthetic:assets=1,bars=400,seed=1",
    "families": ["ema_crossover"],
    "population_size": 4,
    "generations": 2,
    "mode": "local",
}
_taken: dict[str, list[float]] = {"read": [], "submit": []}
_errors: Counter[str] = Counter()
_accepted: dict[str, int] = {}
_streams = 0
_SEEDS = 3
_numbers = itertools.count()


class Visitor(FastHttpUser):
    """Reads lists, single evolutions and strategies; now and then submits and watches."""

    wait_time = between(0.2, 1.0)
    network_timeout = 10.0
    connection_timeout = 10.0

    def on_start(self) -> None:
        """Seed each user differently, and equally in every run."""
        self.known: list[str] = []
        self.ended: list[str] = []
        self.dice = random.Random(next(_numbers))
        self.headers = {"Authorization": f"Bearer {os.environ['GA_SERVICE_TOKEN']}"}

    def _ask(self, kind: str, method: str, path: str, *expected: int, **more: Any) -> Any:
        headers = {**self.headers, **more.pop("headers", {})}
        began = time.perf_counter()
        with self.rest(method, path, headers=headers, **more) as answer:
            taken = time.perf_counter() - began
            if answer.status_code not in expected:
                _errors[f"{method} {path.split('?')[0][:20]}: HTTP {answer.status_code}"] += 1
                return None
            _taken[kind].append(taken)
            return answer.js

    @task(24)
    def read_all(self) -> None:
        """The newest evolutions."""
        found = self._ask("read", "GET", "/v1/evolutions?limit=20", 200)
        if found:
            self.known = [one["id"] for one in found["evolutions"]]
            self.ended = [one["id"] for one in found["evolutions"] if one["ended_at"]]

    @task(24)
    def read_one(self) -> None:
        """One evolution."""
        if self.known:
            self._ask("read", "GET", f"/v1/evolutions/{self.dice.choice(self.known)}", 200)

    @task(12)
    def read_strategies(self) -> None:
        """The best strategies of one evolution, if it has any yet."""
        if self.known:
            run = self.dice.choice(self.known)
            self._ask("read", "GET", f"/v1/evolutions/{run}/strategies?limit=5&all=true", 200, 409)

    @task(4)
    def watch(self) -> None:
        """The events of an evolution, to the last of them."""
        global _streams
        if not self.ended:
            return
        path = f"/v1/evolutions/{self.dice.choice(self.ended)}/events"
        with self.client.get(path, headers=self.headers, catch_response=True) as answer:
            if answer.status_code == 200 and "event: end" in (answer.text or ""):
                _streams += 1
            else:
                _errors[f"GET events: HTTP {answer.status_code}, cut short"] += 1
            answer.success()

    @task(1)
    def submit(self) -> None:
        """A small evolution."""
        seed = self.dice.randrange(_SEEDS)
        key = {"Idempotency-Key": uuid.UUID(int=self.dice.getrandbits(128)).hex}
        body = {**SMALL, "seed": seed}
        found = self._ask("submit", "POST", "/v1/evolutions", 200, 202, 429, json=body, headers=key)
        if found and "id" in found:
            _accepted[found["id"]] = seed


def _write(**_: Any) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    Path(os.environ["GA_LOAD_OUT"]).write_text(
        json.dumps(
            {
                **_taken,
                "streams": _streams,
                "errors": [f"{name}, {count} times" for name, count in _errors.items()],
                "accepted": _accepted,
                "cpu_seconds": used.ru_utime + used.ru_stime,
            }
        )
    )


events.quitting.add_listener(_write)  # type: ignore[no-untyped-call]
