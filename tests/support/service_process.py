"""``python -m ga serve`` as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import requests

TOKEN = "a-token-of-the-tests-alone"
ROOT = Path(__file__).parents[2]
GENERATIONS = 120
BODY = {
    "market": "synthetic:assets=2,bars=600,seed=1",
    "families": ["ema_crossover", "donchian_breakout"],
    "population_size": 40,
    "generations": GENERATIONS,
    "mode": "local",
}
"""Half a second of work: it is not over before somebody has looked."""


def environment(store: str) -> dict[str, str]:
    # Not among the arguments: the URL may hold a password, and they are refused then.
    known = {"GA_SERVICE_TOKEN": TOKEN, "GA_STORE": store, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **known}


class Service:
    """``python -m ga serve`` on a store of its own."""

    def __init__(self, log: Path, store: str, *arguments: str) -> None:
        self.log = log.open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "ga", "serve", "--port", "0", "--workers", "1"),
                # Else they take only what others leave: on a busy machine next to nothing.
                *("--niceness", "0", *arguments),
            ],
            env=environment(store),
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
        found: list[int] = []
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):  # its thread has just ended
                found += map(int, file.read_text().split())
        return found

    def close(self, sent: int = signal.SIGTERM) -> int:
        self.process.send_signal(sent)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()
        self.log.close()
        return status
