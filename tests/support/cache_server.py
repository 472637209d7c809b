"""A Valkey for the tests of the result cache."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import redis

from evolution_gate.fixtures.services import datastores
from ga.result_cache import parse_url
from tests.support.waiting import wait_until


class Server:
    """A real Valkey that can be stopped, killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.service = datastores.start_redis("test-ga-cache", folder)
        self.client = redis.Redis.from_url(self.service.url)

    @property
    def url(self) -> str:
        return self.service.url

    @property
    def password(self) -> str:
        password = parse_url(self.url).password
        assert password is not None
        return password

    def signal(self, number: int) -> None:
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()

    @property
    def process(self) -> subprocess.Popen:
        return self.service.process

    def start_again(self) -> None:
        home = self._folder / "redis"
        process = subprocess.Popen(
            [self.process.args[0], str(home / "valkey.conf")],
            cwd=home,
            stdout=subprocess.DEVNULL,
        )
        self.service = datastores.Service("redis", self.url, self.service.identity, process)
        wait_until(self._answers, seconds=10, what="the server answers", every=0.02)

    def _answers(self) -> bool:
        try:
            self.client.ping()
        except redis.ConnectionError:
            return False
        return True

    def close(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
