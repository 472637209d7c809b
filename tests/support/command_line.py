"""Commands of ``ga``, run inside the test process on a store of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ga.cli import main

SMALL = ("--population-size", "12", "--generations", "3", "--seed", "7", "--mode", "local")
ONE = (*SMALL, "--workers", "1")
MARKET = "synthetic:assets=2,bars=600,seed=1"


class CommandLine:
    """Runs a command; returns (status, stdout, stderr)."""

    def __init__(self, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._store, self._capsys = store, capsys

    def __call__(self, command: str, *argv: str, at: str | None = None) -> tuple[int, str, str]:
        stored = () if command == "families" else ("--store", at or str(self._store))
        status = main.main([command, *argv, *stored])
        return (status, *self._capsys.readouterr())


def evolved(ga: CommandLine, *argv: str) -> dict[str, Any]:
    """Evolve ``MARKET``, and give the JSON that this prints."""
    status, out, _ = ga("evolve", "--market", MARKET, *ONE, "--json", *argv)
    assert status == 0
    return json.loads(out)
