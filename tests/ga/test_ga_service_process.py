"""A service as its own process, killed with evolutions accepted, under way and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

TOKEN = "a-token-of-the-tests-alone"
ROOT = Path(__file__).parents[2]
BODY = {
    "market": "synthetic:assets=2,bars=600,seed=1",
    "families": ["ema_crossover", "donchian_breakout"],
    "population_size": 40,
    "generations": 60,
    "mode": "local",
}
_SECONDS = 90.0


class Service:
    """``python -m ga serve`` on a store of its own."""

    def __init__(self, store: Path, *arguments: str) -> None:
        self.log = store.with_suffix(".log").open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ga", "serve", "--port", "0", "--store", str(store)),
                *("--workers", "1", *arguments),
            ],
            env={**os.environ, "GA_SERVICE_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {TOKEN}"

    def submit(self, key: str, **changes: object) -> requests.Response:
        return self.http.post(
            f"{self.url}/v1/evolutions",
            json={**BODY, **changes},
            headers={"Idempotency-Key": key},
            timeout=30,
        )

    def get(self, path: str) -> dict:
        answer = self.http.get(f"{self.url}/v1/evolutions{path}", timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for file in listed for pid in file.read_text().split()]

    def close(self, sent: int = signal.SIGTERM) -> int:
        self.process.send_signal(sent)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()
        self.log.close()
        return status


def until(seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not seen():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)


def gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def begin(*arguments: str) -> Service:
        made.append(Service(tmp_path / "service.db", *arguments))
        return made[-1]

    yield begin
    for one in made:
        if one.process.poll() is None:
            one.close()


def test_a_killed_service_loses_nothing_and_changes_no_history(start, tmp_path):
    first = start()
    runs = [first.submit(f"key {n}".replace(" ", "-"), seed=n).json()["id"] for n in range(2)]
    until(lambda: first.get(f"/{runs[0]}")["generation"] >= 1)
    children = first.children()
    assert children
    at_kill = first.get(f"/{runs[0]}")
    assert (at_kill["state"], first.get(f"/{runs[1]}")["state"]) == ("running", "queued")
    first.close(signal.SIGKILL)
    until(lambda: all(gone(child) for child in children))

    second = start()
    assert second.submit("key-0", seed=0).status_code == 200
    until(lambda: all(one["state"] == "finished" for one in second.get("")["evolutions"]))
    found = {one["id"]: one for one in second.get("")["evolutions"]}
    assert set(found) == set(runs)
    assert [found[run]["error"] for run in runs] == [None, None]
    assert second.get(f"/{runs[0]}/strategies?limit=3")["strategies"]
    answer = second.http.get(
        f"{second.url}/v1/evolutions/{runs[0]}/events", headers={"Last-Event-ID": "57"}, timeout=30
    )
    events = [e.splitlines() for e in answer.text.strip().split("\n\n")]
    assert [e[0] for e in events] == ["id: 58", "id: 59", "event: end"]
    assert second.close() == 0

    options = {name.replace("_", "-"): value for name, value in BODY.items() if name != "families"}
    undisturbed = subprocess.run(
        [
            *(sys.executable, "-m", "ga", "evolve", "--json", "--workers", "1", "--seed", "0"),
            *("--families", ",".join(BODY["families"]), "--store", str(tmp_path / "other.db")),
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert found[runs[0]]["digest"] == json.loads(undisturbed.stdout)["digest"]
    assert found[runs[0]]["digest"] != found[runs[1]]["digest"]


def test_what_fails_and_what_is_cancelled_says_so(start):
    service = start()
    bad = service.submit("bad", assets=["NONE"]).json()["id"]
    until(lambda: service.get(f"/{bad}")["state"] == "failed")
    assert "has no NONE" in service.get(f"/{bad}")["error"]
    long = service.submit("long", generations=1000).json()["id"]
    until(lambda: service.get(f"/{long}")["generation"] >= 1)
    children = service.children()
    assert service.http.delete(f"{service.url}/v1/evolutions/{long}", timeout=30).ok
    until(lambda: all(gone(child) for child in children))
    assert service.get(f"/{long}")["state"] == "cancelled"


def test_two_services_do_not_share_a_store(start, tmp_path):
    start()
    other = subprocess.run(
        [
            *(sys.executable, "-m", "ga", "serve", "--port", "0"),
            *("--store", str(tmp_path / "service.db")),
        ],
        env={**os.environ, "GA_SERVICE_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert other.returncode == 2
    assert "another service uses it" in other.stderr
