"""What people copy stays in one piece, and a log shows life."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from ga import progress as progress_module
from ga.cli import tables
from ga.cli.tables import paragraph, table
from ga.progress import ProgressLine
from ga.runner import Progress

ROWS = [
    {"run": "0123456789ab", "market": "[red]synthetic:\nbars=600", "trades": 7},
    {"run": "ba9876543210", "market": "data/eur usd.csv", "trades": 1234},
]


def test_pipe_gets_one_line_per_row(capsys):
    table("Runs", ROWS, right=["trades"])
    assert capsys.readouterr().out.splitlines() == [
        "Runs",
        "run           market                    trades",
        "0123456789ab  [red]synthetic: bars=600       7",
        "ba9876543210  data/eur usd.csv            1234",
    ]
    table("Runs", [])
    assert capsys.readouterr().out == "Runs: none\n"


@pytest.mark.parametrize("width", [30, 42, 80])
def test_ids_are_never_truncated(monkeypatch, capsys, width):
    drawn = io.StringIO()
    monkeypatch.setattr(
        tables,
        "Console",
        lambda: Console(file=drawn, width=width, force_terminal=True, color_system=None),
    )
    table("Runs", ROWS, right=["trades"], styles=["", "bold red"])
    shown = drawn.getvalue() + capsys.readouterr().out
    for row in ROWS:
        assert row["run"] in shown
    if drawn.getvalue():
        assert max(map(len, drawn.getvalue().splitlines())) <= width
        assert "[red]" in shown


@pytest.fixture
def terminal(monkeypatch):
    """The text that a terminal of 80 columns gets."""
    drawn = io.StringIO()
    monkeypatch.setattr(
        tables,
        "Console",
        lambda: Console(file=drawn, width=80, force_terminal=True, color_system=None),
    )
    return drawn


@given(
    numbers=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=8),
    text=st.text("ab ", max_size=120),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_terminal_breaks_no_number(terminal, numbers, text):
    terminal.seek(0)
    terminal.truncate()
    names = [f"number {i}" for i in range(len(numbers))]
    row = {"text": text, **dict(zip(names, numbers, strict=True))}
    table("Numbers", [row], right=names)
    shown = terminal.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    for number in numbers:
        assert re.search(rf"(?<![\d-]){number}(?!\d)", shown)


def test_too_wide_table_is_printed_by_row(terminal):
    rows = [{"key": "0123456789ab", **{f"column {i}": 10**9 for i in range(8)}}] * 2
    table("Wide", rows, right=[f"column {i}" for i in range(8)])
    lines = terminal.getvalue().splitlines()
    assert lines[:4] == ["Wide", "", "key       0123456789ab", "column 0  1000000000"]
    assert len(lines) == 1 + 2 * 10


def test_paragraph_is_wrapped_on_terminal(terminal):
    text = ", ".join(f"gene{i} {i / 7:.4g}" for i in range(30))
    paragraph(text)
    lines = terminal.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines) == text


def test_paragraph_is_one_line_in_pipe(capsys):
    paragraph("word " * 40 + "end")
    assert capsys.readouterr().out == "word " * 40 + "end\n"


def at(done: int) -> Progress:
    return Progress(
        generation=0,
        generations=2,
        done=done,
        population_size=100,
        evaluations=done,
        best=1.0,
        evaluations_per_second=10.0,
        seconds_left=5.0,
    )


def test_progress_lines_become_rarer_in_logs(capsys):
    now = 0.0
    lines = []
    with ProgressLine(clock=lambda: now) as progress:
        for second in range(1300):
            now = float(second)
            progress.show(at(second // 13))
            if capsys.readouterr().err:
                lines.append(second)
    assert lines == [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215]


def test_terminal_gets_progress_bar(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(
        progress_module,
        "Console",
        lambda stderr: Console(file=terminal, force_terminal=stderr, width=100),
    )
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with ProgressLine() as progress:
        progress.show(at(50))
    assert sys.stderr.getvalue() == ""
    assert "generation" in terminal.getvalue()
