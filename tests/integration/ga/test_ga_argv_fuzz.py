"""No command line of ``python -m ga`` ends in a traceback or hangs, whatever is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ga import workflow
from ga.cli import main
from ga.cli import plan as capacity
from ga.cli.parser import make_parser
from ga.errors import InputError
from ga.ops import backups
from ga.service import server
from tests.support.argv_fuzz import POOL, argvs, leaves, make_files, one_by_one
from tests.support.command_line import MARKET, ONE
from tests.support.exit_table import statuses

WORK = "this would have started work"
LEAVES = {" ".join(leaf.words): leaf for leaf in leaves(make_parser())}
FREE = [name for name, leaf in LEAVES.items() if any(a.nargs != 0 for a in leaf.actions)]
"""Commands that take a value."""
EXITS = statuses("ga")
RUN = "a" * 12
USUAL = {
    "market": ("synthetic:bars=600", "prices.csv", "eurusd"),
    "store": ("ledger.db",),
    "run": ("a",),
    "strategy": ("bb7c22fbe4",),
    "path": ("prices.csv", "folder"),
    "out": ("page.html",),
    "file": ("new.backup",),
    "older_than": ("0", "1"),
    "mode": ("local",),
    "population_size": ("12",),
    "generations": ("3",),
    "population": ("100",),
    "assets": ("2",),
    "bars": ("5000",),
    "deadline": ("1h",),
    "simulate": ("1", "3"),
    "port": ("0",),
}
VARIABLES = (
    *("GA_STORE", "GA_CACHE_URL", "GA_CACHE_NAMESPACE", "GA_CACHE_PASSWORD_FILE"),
    *("GA_DATABASE_SECONDS", "GA_SERVICE_TOKEN", "TZ", "COLUMNS"),
)


def never(*_: object, **__: object) -> NoReturn:
    raise InputError(WORK)


@pytest.fixture(scope="module")
def evolved_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("fuzz") / "ledger.db"
    argv = ["evolve", "--market", MARKET, *ONE, "--store", str(store), "--run-id", RUN]
    assert main.main(argv) == 0
    return store


@pytest.fixture
def attempt(
    evolved_ledger: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Callable[[list[str]], None]]:
    """Run a command line in a folder of hostile files, and check how it ends.

    Nothing that takes long can start.
    """
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        # No container engine is found.
        "PATH": str(tmp_path / "folder"),
        "HOME": str(tmp_path),
        "GA_HYPERLIQUID_URL": "http://127.0.0.1:1",
        "GA_SERVICE_TOKEN": "t" * 43,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GA_STORE", raising=False)
    monkeypatch.setattr(workflow, "make_evaluator", never)
    monkeypatch.setattr(capacity, "measure", never)
    monkeypatch.setattr(backups, "repeat", never)
    monkeypatch.setattr(server, "Server", never)

    def run(argv: list[str]) -> None:
        # Any command may have been told to write to it.
        shutil.copy(evolved_ledger, tmp_path / "ledger.db")
        capfd.readouterr()
        status = main.main(argv)
        out, err = capfd.readouterr()
        named = " ".join(argv[:2] if argv[0] in ("data", "cluster") else argv[:1])
        assert status in EXITS[named], argv
        assert "Traceback" not in err, argv
        # `preflight` says on stdout what is missing.
        if status and argv[:1] != ["preflight"]:
            assert err.splitlines()[-1].startswith("ga: "), argv
        if "--json" in argv and out:
            json.loads(out)

    yield run
    (tmp_path / "readonly").chmod(0o700)


@pytest.mark.parametrize("name", FREE)
def test_no_command_line_ends_in_traceback(name: str, attempt: Callable[[list[str]], None]) -> None:
    @settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
    @given(argvs(LEAVES[name], USUAL))
    def tried(argv: list[str]) -> None:
        attempt(argv)

    tried()


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_each_option_refuses_hostile_values(
    name: str, attempt: Callable[[list[str]], None]
) -> None:
    for argv in one_by_one(LEAVES[name], USUAL):
        attempt(argv)


@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_ends_in_traceback(
    name: str, attempt: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=5, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(POOL))
    def tried(value: str) -> None:
        monkeypatch.setenv(name, value)
        attempt(["evolve", "--market", "synthetic:bars=600", "--mode", "local", "--json"])
        attempt(["runs", "--json"])
        attempt(["serve", "--port", "0"])

    tried()


def test_exit_statuses_of_all_commands_are_documented() -> None:
    assert set(EXITS) == set(LEAVES)
