"""``backup --every`` as a process: it makes backups, serves their time, and ends by a signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import requests

from evolution_gate.fixtures.system import ports
from evolution_gate.fixtures.system.http_client import session
from ga.cli.main import main
from ga.ledger import open_ledger
from tests.support.waiting import wait_until

NAME = "ga_backup_timestamp_seconds"


def test_scheduled_backup_is_served_and_restored(tmp_path: Path) -> None:
    store, file = f"sqlite:///{tmp_path / 'ga.db'}", tmp_path / "ledger.backup"
    with closing(open_ledger(store, create=True)):
        pass
    (port,) = ports.free(1)
    argv = [sys.executable, "-m", "ga", "backup", str(file), "--store", store, "--every", "1"]
    process = subprocess.Popen(
        [*argv, "--metrics-port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    found: list[float] = []

    def served() -> bool:
        assert process.poll() is None
        try:
            with session() as client:
                text = client.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        except requests.RequestException:
            return False
        found[:] = [float(line.split()[1]) for line in text.splitlines() if line.startswith(NAME)]
        return bool(found and found[0])

    try:
        wait_until(served, seconds=60, what="a backup and its series", every=0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert len(said.splitlines()) <= 1
    assert found == [file.stat().st_mtime]
    restored = f"sqlite:///{tmp_path / 'again.db'}"
    assert main(["restore", str(file), "--store", restored]) == 0
