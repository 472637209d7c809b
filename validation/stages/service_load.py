"""The HTTP service under load, killed, and started again."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import requests

from evolution_gate.fixtures.system import launch, process_table
from evolution_gate.fixtures.system.environment import inherited
from evolution_gate.fixtures.system.http_client import session
from validation.evidence.log import Sink
from validation.evidence.records import Note
from validation.evidence.records_load import Load, ServiceRestart
from validation.limits import USERS

_USERS_FILE: Final = Path(__file__).parents[1] / "scripts" / "http_users.py"
_LOAD_SECONDS: Final = 20
_START_SECONDS: Final = 60.0
_END_SECONDS: Final = 120.0
_POLL: Final = 0.02
"""Polling interval in seconds, short compared with the evolutions that the kill interrupts."""
_LONG: Final = 300
"""Generations of the evolutions that the kill is to interrupt."""


class LoadError(RuntimeError):
    """The load generator measured nothing; the message is the last line of its output."""


class Service:
    """``python -m ga serve`` as a separate process."""

    def __init__(self, store: Path, token: str) -> None:
        self._log = store.with_suffix(".log").open("ab")
        self.process = launch.spawn(
            [
                sys.executable,
                "-m",
                "ga",
                "serve",
                "--port",
                "0",
                "--workers",
                "1",
                "--max-concurrent",
                "2",
            ],
            env=inherited({"GA_SERVICE_TOKEN": token, "GA_STORE": f"sqlite:///{store}"}),
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.url = words[-1] if words else ""
        self.http = session()
        self.http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str) -> requests.Response:
        """Send one read request."""
        return self.http.get(f"{self.url}{path}", timeout=30)

    def end(self, sent: signal.Signals) -> int:
        """Send a signal; returns the exit status."""
        self.process.send_signal(sent)
        status = self.process.wait(_START_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()
        self._log.close()
        return status


def service_load(writer: Sink, *, folder: Path, say: Callable[[str], None]) -> None:
    """Load by locust, then SIGKILL with accepted runs, then wait for the end of all runs."""
    say(f"the service with {USERS} users for {_LOAD_SECONDS} s, then killed and started again")
    place = folder / "service"
    place.mkdir()
    token = secrets.token_urlsafe(32)
    service = Service(place / "service.db", token)
    try:
        if not service.url:
            writer.add(Note(text=f"the service did not start: status {service.process.wait(10)}"))
            return
        # A finished evolution, so that there are events to read from the beginning.
        first = _submit(service, "first", generations=2)
        _until(lambda: "open" not in {state for state, _ in _states(service, first).values()})
        try:
            seen, accepted = load(service, place, token)
        except LoadError as error:
            writer.add(Note(text=f"the load generator failed: {error}"))
            return
        writer.add(seen)
        accepted |= first
        long = _submit(service, "one", generations=_LONG)
        long |= _submit(service, "other", generations=_LONG)
        accepted |= long
        # During a run: otherwise a run that starts again after the kill would look like a resumed
        # one.
        _until(lambda: any(_generations(service, run) > 0 for run in long))
        # Only of these two: querying all takes as long as they may still run.
        still_open = sum(state == "open" for state, _ in _states(service, long).values())
        status = service.end(signal.SIGKILL)
        service = Service(place / "service.db", token)
        _until(lambda: "open" not in {state for state, _ in _states(service, accepted).values()})
        states = _states(service, accepted)
        writer.add(_restart(accepted, states, still_open, killed=status == -signal.SIGKILL))
    finally:
        if service.process.poll() is None:
            service.end(signal.SIGTERM)


def load(service: Service, place: Path, token: str) -> tuple[Load, dict[str, int]]:
    """The users' measurements, and the accepted evolutions as id -> seed.

    Args:
        place: folder for the generator's own file.

    Raises:
        LoadError: nothing was measured.
    """
    out = place / "load.json"

    def others() -> float:
        return process_table.host_seconds() - process_table.family_seconds(service.process.pid)

    began, before = time.monotonic(), others()
    done = launch.run(
        [
            *(sys.executable, "-m", "locust", "-f", str(_USERS_FILE), "--headless"),
            *("--users", str(USERS), "--spawn-rate", "10", "--only-summary"),
            *("--run-time", f"{_LOAD_SECONDS}s", "--stop-timeout", "5", "--host", service.url),
        ],
        env=inherited({"GA_SERVICE_TOKEN": token, "GA_LOAD_OUT": str(out)}),
        capture_output=True,
        timeout=_LOAD_SECONDS + _START_SECONDS,
        check=False,
    )
    seconds, after = time.monotonic() - began, others()
    if not out.exists():
        raise LoadError((done.stderr.strip().splitlines() or ["nothing"])[-1])
    found: Mapping[str, Any] = json.loads(out.read_text())
    seen = Load(
        users=USERS,
        seconds=seconds,
        reads=tuple(found["read"]),
        submits=tuple(found["submit"]),
        streams=found["streams"],
        errors=tuple(found["errors"]),
        generator_share=found["cpu_seconds"] / seconds,
        others_cores=max(0.0, after - before - found["cpu_seconds"]) / seconds,
    )
    return seen, dict(found["accepted"])


def _until(seen: Callable[[], bool]) -> None:
    """Wait with a time limit; the record shows what did not happen."""
    deadline = time.monotonic() + _END_SECONDS
    while not seen() and time.monotonic() < deadline:
        time.sleep(_POLL)


def _generations(service: Service, run: str) -> int:
    answer = service.get(f"/v1/evolutions/{run}")
    answer.raise_for_status()
    return int(answer.json()["generation"])


def _submit(service: Service, key: str, *, generations: int) -> dict[str, int]:
    """Submit an evolution: id -> seed. Evolutions of equal length must have equal histories."""
    seed = 1000 + generations
    body = {
        "market": "synthetic:assets=2,bars=600,seed=1",
        "families": ["ema_crossover"],
        "population_size": 30,
        "generations": generations,
        "mode": "local",
        "seed": seed,
    }
    answer = service.http.post(
        f"{service.url}/v1/evolutions",
        json=body,
        headers={"Idempotency-Key": f"gate-{key}"},
        timeout=30,
    )
    return {answer.json()["id"]: seed} if answer.status_code in (200, 202) else {}


def _states(service: Service, accepted: Mapping[str, int]) -> dict[str, tuple[str, str | None]]:
    """Run -> ``open``, ``finished``, ``failed`` or ``lost``, and its digest."""
    found: dict[str, tuple[str, str | None]] = {}
    for run in accepted:
        answer = service.get(f"/v1/evolutions/{run}")
        if answer.status_code == 404:
            found[run] = ("lost", None)
            continue
        answer.raise_for_status()
        state = answer.json()["state"]
        found[run] = ("open" if state in ("queued", "running") else state, answer.json()["digest"])
    return found


def _restart(
    accepted: Mapping[str, int],
    states: Mapping[str, tuple[str, str | None]],
    still_open: int,
    *,
    killed: bool,
) -> ServiceRestart:
    ends = [state for state, _ in states.values()]
    digests: dict[int, set[str | None]] = {}
    for run, (state, digest) in states.items():
        if state == "finished":
            digests.setdefault(accepted[run], set()).add(digest)
    return ServiceRestart(
        accepted=len(accepted),
        open_at_kill=still_open,
        finished=ends.count("finished"),
        lost=ends.count("lost"),
        failed=ends.count("failed") + ends.count("cancelled"),
        killed=killed,
        differing=sum(len(found) - 1 for found in digests.values()),
    )
