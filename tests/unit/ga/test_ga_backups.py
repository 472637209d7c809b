"""Backups at an interval: when one is due, what a failure does, and the series of their age."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from ga.cli.main import main
from ga.errors import LedgerError
from ga.ops import backups


class Clock:
    """A time that passes only while somebody sleeps."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def made(file: Path, at: float) -> None:
    file.touch()
    os.utime(file, (at, at))


def test_backups_are_made_at_the_interval(tmp_path: Path) -> None:
    file, clock, times = tmp_path / "b", Clock(), list[float]()

    def write() -> None:
        times.append(clock.now)
        made(file, clock.now)

    backups.repeat(file, 7000.0, write, clock=clock.read, sleep=clock.sleep, rounds=4)
    assert times == [1_000_000.0 + 7000 * number for number in range(4)]


def test_restart_waits_for_the_rest_of_the_interval(tmp_path: Path) -> None:
    file, clock = tmp_path / "b", Clock()
    made(file, clock.now - 3000)
    times: list[float] = []
    backups.repeat(
        file, 7000.0, lambda: times.append(clock.now),
        clock=clock.read, sleep=clock.sleep, rounds=1,
    )  # fmt: skip
    assert times == [1_004_000.0]


def test_failure_is_reported_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, clock, times = tmp_path / "b", Clock(), list[float]()

    def write() -> None:
        times.append(clock.now)
        if len(times) < 3:
            raise LedgerError("the database is away; start it")
        made(file, clock.now)

    backups.repeat(file, 7000.0, write, clock=clock.read, sleep=clock.sleep, rounds=4)
    retry = backups.RETRY_SECONDS
    begin = 1_000_000.0
    assert times == [begin, begin + retry, begin + 2 * retry, begin + 2 * retry + 7000]
    said = capsys.readouterr().err.splitlines()
    assert said == ["backup failed: the database is away; start it; tried again in 300 s"] * 2


@given(age=st.floats(-1e6, 1e6), every=st.floats(1.0, 1e6))
def test_due_time_is_within_the_interval(age: float, every: float) -> None:
    file, now = Path(__file__), backups.newest(Path(__file__)) + age
    wait = backups.next_wait(file, every, now)
    assert 0 <= wait <= every
    # A backup from the future, after the clock was set, must not stop backups for years.
    assert (wait == 0) == (now - backups.newest(file) >= every or now < backups.newest(file))


def test_series_has_the_time_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "b"
    registry = backups.series(file)
    name = "ga_backup_timestamp_seconds"
    assert registry.get_sample_value(name) == 0
    made(file, 12345.0)
    assert registry.get_sample_value(name) == 12345
    file.unlink()
    assert registry.get_sample_value(name) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metrics-port", "0"], "--metrics-port needs --every"),
        (["--every", "0"], "--every must be 0.01..8760"),
        (["--every", "nan"], "--every must be 0.01..8760"),
        (["--every", "1", "--metrics-port", "70000"], "0..65535"),
        (["--every", "1", "--keep", "0"], "--keep must be"),
    ],
)
def test_bad_options_are_one_line(
    tmp_path: Path, options: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{tmp_path / 'ga.db'}"
    assert main(["backup", str(tmp_path / "b"), "--store", store, *options]) == 2
    (said,) = capfd.readouterr().err.strip().splitlines()
    assert words in said
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "none" / "b"
    assert main(["backup", str(file), "--store", "sqlite:///x.db", "--every", "1"]) == 2
    assert "no such folder; create it" in capfd.readouterr().err
