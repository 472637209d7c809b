"""A soak in the background: it needs no starter, and says why it cannot start."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from validation.cli.main import main
from validation.evidence.records import Note
from validation.soak import read_soak
from validation.soak.background import CONSOLE
from validation.soak.segments import Folder, locked


def test_background_soak_goes_on_without_its_starter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    argv = ["soak", "--hours", "2", "--simulate", "--seed", "3", "--out", str(out)]
    assert main([*argv, "--background"]) == 0
    said = capsys.readouterr().out
    assert f"its output: {out / CONSOLE}" in said
    wait_until(lambda: Folder.load(out).finished, seconds=math.inf, what="the soak ends")
    found = read_soak(out)
    assert found.closed
    assert any("2 h are watched" in note.text for note in found.all(Note))
    assert "2 h are watched" in (out / CONSOLE).read_text()


def test_background_soak_that_cannot_start_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "s"
    argv = ["soak", "--hours", "2", "--simulate", "--seed", "3", "--out", str(out)]
    assert main(argv) == 2
    held = locked(out)
    try:
        assert main([*argv, "--resume", "--background"]) == 2
    finally:
        os.close(held)
    said = capsys.readouterr().err
    assert "the soak ended with status 2: error: " in said
    assert "another process runs this soak" in said
