"""``signals --follow`` as a process: signals end it, and it goes on without gap or double."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ga.families import KERNEL_VERSION
from tests.support.engine_fixtures import frame
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
LINES = frame(230).to_csv(index=False).splitlines(keepends=True)
STRATEGY = {
    "format": "evolution-gate/strategy/1", "kernel_version": KERNEL_VERSION, "key": "a" * 64,
    "family": "ema_crossover", "genes": {
        "fast": 5, "slow": 18, "momentum_threshold": 0.001, "signal_strength": 0.5,
        "trend_filter": 0.0,
    },
}  # fmt: skip


@contextmanager
def following(folder: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    argv = ("signals", "strategy.json", "--market", "asset.csv", "--follow", "--poll", "0.02")
    with out.open("wb") as stdout, (folder / "err").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "ga", *argv, "--state", "state.jsonl"],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def await_bars(folder: Path, count: int) -> None:
    """Wait until so many bars are recorded; each was printed before."""
    state = folder / "state.jsonl"

    def there() -> bool:
        return state.exists() and state.read_bytes().count(b"\n") >= 1 + count

    wait_until(there, seconds=60.0, what=(folder / "err").read_text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_and_next_continues(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "strategy.json").write_text(json.dumps(STRATEGY))
    market, first, bars = tmp_path / "asset.csv", 210, 1
    market.write_text("".join(LINES[: 1 + first]))
    printed: list[bytes] = []
    for turn in range(2):
        out = tmp_path / f"out{turn}"
        with following(tmp_path, out) as process:
            for more in (3, 4):
                await_bars(tmp_path, bars)
                with market.open("a") as file:
                    file.writelines(LINES[first + bars : first + bars + more])
                bars += more
            await_bars(tmp_path, bars)
            process.send_signal(number)
            assert process.wait(60) == 128 + number
        printed += out.read_bytes().splitlines()
        assert len(printed) == bars
        error = (tmp_path / "err").read_text()
        assert error.count("\n") == 1
        assert "Traceback" not in error
    assert (tmp_path / "state.jsonl").read_bytes().splitlines()[1:] == printed
    times = [json.loads(line)["time"] for line in printed]
    assert times == [f"{line.split(',')[0]}Z" for line in LINES[first : first + bars]]
