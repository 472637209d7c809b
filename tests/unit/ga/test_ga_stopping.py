"""A run that a limit ends: its history is the beginning of the whole one."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ga.cli import main
from ga.stopping import Stopping

EVOLVE = (
    "evolve", "--market", "synthetic:assets=1,bars=400,seed=1", "--mode", "local", "--workers", "1",
    "--population-size", "12", "--generations", "8", "--families", "ema_crossover", "--folds", "2",
)  # fmt: skip


def digests(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as there:
        rows = there.execute("SELECT digest FROM generations ORDER BY generation").fetchall()
    return [row[0] for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    store = tmp_path_factory.mktemp("whole") / "ga.db"
    assert main.main([*EVOLVE, "--store", str(store)]) == 0
    return digests(store)


@pytest.mark.parametrize("limit", [("--time-budget", "1e-9"), ("--stop-after", "1")])
def test_limited_history_begins_and_continues_whole(
    tmp_path: Path,
    whole: list[str],
    capsys: pytest.CaptureFixture[str],
    limit: tuple[str, str],
) -> None:
    store = tmp_path / "ga.db"
    assert main.main([*EVOLVE, "--store", str(store), *limit]) == 0
    error = capsys.readouterr().err
    found = digests(store)
    assert 1 <= len(found) < 8
    assert found == whole[: len(found)]
    assert f"ended after generation {len(found)} of 8: " in error
    (command,) = (line for line in error.splitlines() if line.startswith("to go on: "))
    run = command.split()[7]
    where = ("--store", str(store))
    assert main.main(["verify", run, "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == found[-1]
    assert main.main(["resume", run, "--mode", "local", "--workers", "1", *where]) == 0
    assert digests(store) == whole


def test_time_budget_ends_after_first_generation() -> None:
    now = 100.0
    stopping = Stopping(time_budget=5.0, clock=lambda: now)
    now = 200.0
    assert not stopping.enough(3, 1.0)
    now = 104.9
    assert not stopping.enough(4, 1.0)
    now = 105.0
    assert stopping.enough(5, 2.0)
    assert stopping.reason == "the time budget of 5 s is over"


def test_patience_counts_from_last_improvement() -> None:
    stopping = Stopping(stop_after=2)
    bests = [None, None, 1.0, 1.0, 1.5, 1.5, 1.5]
    assert [stopping.enough(*one) for one in enumerate(bests)] == [False] * 6 + [True]
    assert Stopping().reason == ""
    assert not any(Stopping().enough(g, 1.0) for g in range(9))


def test_run_without_any_fitness_is_ended() -> None:
    stopping = Stopping(stop_after=2)
    assert [stopping.enough(g, None) for g in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    "limit",
    [("--time-budget", "0"), ("--time-budget", str(math.nan)), ("--stop-after", "0")],
)
def test_impossible_limit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: tuple[str, str]
) -> None:
    store = tmp_path / "ga.db"
    assert main.main([*EVOLVE, *limit, "--store", str(store)]) == 2
    assert f"{limit[0]} must be" in capsys.readouterr().err
    assert not store.exists()
