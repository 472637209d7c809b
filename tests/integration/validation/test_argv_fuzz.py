"""No command line of ``python -m validation`` ends in a traceback, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings

from ga.errors import InputError
from tests.support.argv_fuzz import argvs, leaves, make_files, one_by_one
from tests.support.entry_points import files_of_every_kind, fresh
from tests.support.exit_table import statuses
from validation.cli import main as command
from validation.cli.parser import make_parser
from validation.error_rates import command as error_rates
from validation.mutation import runner

LEAVES = {" ".join(leaf.words): leaf for leaf in leaves(make_parser())}
USUAL = {
    "files": ("run", "soak"),
    "before": ("run",),
    "after": ("run", "run,run"),
    "folder": (".",),
    "out": ("page",),
    "certificates": ("certificates.jsonl",),
    "criteria": ("speedup",),
    "file": ("mine.py",),
    "hours": ("0.02",),
    "simulate": ("healthy",),
    "plugins": ("mine.py",),
    "sign": ("key.pem",),
    "verify": ("key.pub",),
}


EXITS = statuses("evolution-gate")
EXAMPLES = {"criteria": 2}
"""Fewer where a plug-in is loaded, in a process of its own."""


def never(*_: object, **__: object) -> NoReturn:
    raise InputError("this would have started work")


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    with files_of_every_kind() as folder:
        yield folder


@pytest.fixture
def attempt(
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Callable[[list[str]], None]]:
    """Run a command line in a folder of hostile files, and check how it ends.

    Neither a stack nor a certification nor a soak can start.
    """
    fresh(made, tmp_path)
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "folder"))
    monkeypatch.setattr(runner, "run_in_copy", never)
    for trial in ("measure", "reason", "try_healthy"):
        monkeypatch.setattr(error_rates, trial, never)
    monkeypatch.setattr(command, "in_background", never)
    monkeypatch.setattr(command.soak, "soak", never)
    monkeypatch.setattr("evolution_gate.fixtures.start_stack", never)

    def run(argv: list[str]) -> None:
        capfd.readouterr()
        try:
            status = command.main(argv)
        except SystemExit as refused:
            # Bad options; argparse prints the usage.
            status = int(str(refused.code))
            assert status == 2, argv
        out, err = capfd.readouterr()
        assert status in EXITS[argv[0]], argv
        assert "Traceback" not in err, argv
        if "--json" in argv and out:
            json.loads(out)

    yield run
    (tmp_path / "readonly").chmod(0o700)


@pytest.mark.parametrize("name", LEAVES)
def test_no_command_line_ends_in_traceback(name: str, attempt: Callable[[list[str]], None]) -> None:
    @settings(
        max_examples=EXAMPLES.get(name, 8), suppress_health_check=list(HealthCheck), database=None
    )
    @given(argvs(LEAVES[name], USUAL))
    def tried(argv: list[str]) -> None:
        attempt(argv)

    tried()


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES)
def test_each_option_refuses_hostile_values(
    name: str, attempt: Callable[[list[str]], None]
) -> None:
    for argv in one_by_one(LEAVES[name], USUAL):
        attempt(argv)


def test_exit_statuses_of_all_commands_are_documented() -> None:
    assert set(EXITS) == set(LEAVES)
