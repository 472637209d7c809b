"""docs/scale.md says what its commands print."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ga.cli.main import main

ROOT = Path(__file__).parents[3]
DOC = ROOT / "docs" / "scale.md"
PERCENT = r"(\d+) %"


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def command() -> list[str]:
    (block,) = re.findall(
        r"^    (python -m ga plan --baseline .*?)\n\n", DOC.read_text(), re.M | re.S
    )
    return shlex.split(block.replace("\\\n", " "))[3:]


def tables() -> list[list[re.Match[str]]]:
    """The rows of both tables: nodes, seconds of a generation, busy, handing out, bound by."""
    row = re.compile(
        rf"\| ([\d,]+)[a-z ]* \| ([\d,.]+) s \| {PERCENT} \| {PERCENT} \| ([a-z ]+) \|"
    )
    found: list[list[re.Match[str]]] = [[]]
    for line in DOC.read_text().splitlines():
        match = row.fullmatch(line)
        if match:
            found[-1].append(match)
        elif found[-1]:
            found.append([])
    return found[:-1]


def asked(argv: list[str], capsys: pytest.CaptureFixture[str], **changes: str) -> dict[str, Any]:
    for name, value in changes.items():
        argv[argv.index(f"--{name}") + 1] = value
    assert main([*argv, "--json"]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


@pytest.mark.parametrize(("table", "changes"), [(0, {}), (1, {"assets": "10", "bars": "50000"})])
def test_scale_tables_match_command_output(
    table: int, changes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    played = {p["nodes"]: p for p in asked(command(), capsys, **changes)["played"]}
    rows = tables()[table]
    assert len(rows) >= 5
    for row in rows:
        one = played[int(row[1].replace(",", ""))]
        digits = len(row[2].partition(".")[2])
        seconds = sum(one["generations"]) / len(one["generations"])
        assert f"{seconds:,.{digits}f}" == row[2], row[0]
        assert (f"{one['busy']:.0%}", f"{one['handing_out']:.0%}") == (f"{row[3]}%", f"{row[4]}%")
        assert one["bound_by"] == row[5], row[0]


def test_first_limits_match_command_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    limits = asked(command(), capsys)["nodes_at_the_limit"]
    said = re.findall(r"\*\*(?:the ledger's )?([a-z ]+) from (\d+) nodes\*\*", DOC.read_text())
    ordered = sorted(limits.items(), key=lambda item: item[1])
    assert said == [(name, f"{nodes:.0f}") for name, nodes in ordered]
