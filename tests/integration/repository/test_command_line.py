"""What ``--help`` says, and what a shell completes."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolution_gate.fixtures.cli import make_parser as fixtures_parser
from ga.cli.help import HelpFormatter, commands_of
from ga.cli.parser import make_parser as ga_parser
from validation.cli.parser import make_parser as gate_parser

ROOT = Path(__file__).resolve().parents[3]
PARSERS = {"ga": ga_parser, "evolution-gate": gate_parser, "fixtures": fixtures_parser}


def walk(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for command in commands_of(parser).values():
        yield from walk(command)


@pytest.mark.parametrize("program", PARSERS)
def test_every_option_is_described(program: str) -> None:
    bare = [
        f"{parser.prog} {' '.join(action.option_strings) or action.dest}"
        for parser in walk(PARSERS[program]())
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert bare == []


@pytest.mark.parametrize("name", commands_of(gate_parser()))
def test_command_of_the_gate_has_description_and_example(name: str) -> None:
    command = commands_of(gate_parser())[name]
    assert str(command.description).endswith(".")
    assert f"{gate_parser().prog} {name}" in str(command.epilog)


@pytest.mark.parametrize("program", PARSERS)
def test_every_default_is_shown(program: str) -> None:
    unsaid = []
    for parser in walk(PARSERS[program]()):
        text = " ".join(parser.format_help().split())
        for action in parser._actions:
            if action.help == argparse.SUPPRESS or not action.option_strings:
                continue
            default = action.default
            told = default is None or default is False or default in (argparse.SUPPRESS, [])
            if not told and "default" not in str(action.help):
                said = f"{action.help} (default: {action.default})"
                if said.replace("%%", "%") not in text:
                    unsaid.append(f"{parser.prog} {action.option_strings[-1]}")
    assert unsaid == []


def test_every_ga_command_has_description_and_example() -> None:
    first, *commands = walk(ga_parser())
    assert len(commands) >= 20
    assert [one.prog for one in commands if not one.description] == []
    lacking = [one.prog for one in commands if f"  {one.prog}" not in (one.epilog or "")]
    assert lacking == []
    assert first.description


def test_every_ga_option_without_default_says_so() -> None:
    unsaid = [
        f"{parser.prog} {action.option_strings[-1]}"
        for parser in walk(ga_parser())
        for action in parser._actions
        if isinstance(action, argparse._StoreAction)
        and action.option_strings
        and action.default is None
        and not action.required
        and "default" not in str(action.help)
    ]
    assert unsaid == []


def test_default_of_zero_is_shown() -> None:
    parser = argparse.ArgumentParser(prog="p", formatter_class=HelpFormatter)
    parser.add_argument("--zero", type=int, default=0, help="a number")
    parser.add_argument("--flag", action="store_true", help="a switch")
    text = parser.format_help()
    assert "a number (default: 0)" in text
    assert "a switch (" not in text


@pytest.mark.parametrize("program", ["ga", "evolution-gate"])
def test_help_examples_are_parsed(program: str) -> None:
    """Those of the whole help are the first of each command's."""
    parser = PARSERS[program]()
    found = set()
    for command in walk(parser):
        for line in (command.epilog or "").splitlines()[1:]:
            found.add(line.removeprefix(f"  {parser.prog} "))
    assert len(found) >= 8
    for line in found:
        parser.parse_args(line.split())


@pytest.mark.parametrize("program", ["ga", "evolution-gate"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_script_is_printed(
    program: str, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSERS[program]().parse_args(["--print-completion", shell])
    assert ended.value.code == 0
    assert program in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ga ev", {"evolve"}),
        ("ga evolve --pop", {"--population-size"}),
        ("ga evolve --mode ", {"auto", "local", "distributed"}),
        ("ga cluster s", {"status", "scale"}),
        ("evolution-gate cer", {"certify"}),
    ],
)
def test_bash_completes(line: str, expected: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    program = line.split()[0]
    with pytest.raises(SystemExit):
        PARSERS[program]().parse_args(["--print-completion", "bash"])
    words = line.split(" ")
    asked = (
        f"{capsys.readouterr().out}\n"
        f"COMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)})\n"
        f"COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE='{line}'\nCOMP_POINT={len(line)}\n"
        f"$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
    assert expected <= set(done.stdout.split()), done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--anew"], ["--force"]),
        (["--part", "1/4"], ["--shard", "1/4"]),
        (["--minutes", "2"], ["--time-budget", "2"]),
    ],
)
def test_old_options_of_certify_still_work(old: list[str], new: list[str]) -> None:
    parse = gate_parser().parse_args
    assert parse(["certify", *old]) == parse(["certify", *new]) != parse(["certify"])


def test_old_name_of_screenshot_still_works() -> None:
    argv = [sys.executable, "-m", "reports.screenshot", "--help"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m tools.screenshot ")
