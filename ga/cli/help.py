"""Additions to argparse's ``--help``: defaults of options, examples, and shell completion."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

_SHELLS: Final = ("bash", "zsh", "tcsh")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Appends the default to the help of an option, unless the help contains it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text, default = action.help, action.default
        # By identity, because 0 is a valid default and equals False.
        unsaid = default is None or default is False or default in (argparse.SUPPRESS, [])
        if text is None or unsaid or "default" in text or not action.option_strings:
            return text
        return f"{text} (default: %(default)s)"


class _PrintCompletion(argparse.Action):
    """Print a completion script for a shell and exit. ``const``: the command's name."""

    def __call__(self, parser: argparse.ArgumentParser, *given: Any, **_: Any) -> None:
        import shtab

        parser.prog, shell = str(self.const), str(given[1])
        print(shtab.complete(parser, shell=shell))
        parser.exit()


def finish(
    parser: argparse.ArgumentParser, *, installed: str, examples: Mapping[str, Sequence[str]]
) -> None:
    """Add defaults, examples and ``--print-completion`` to a parser and the parsers of its
    commands.

    Args:
        installed: Name of the installed command.
        examples: Command -> command lines without the program's name. The first of each is shown
            by the program's own help, too.
    """
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        const=installed,
        choices=_SHELLS,
        help=f"print a completion script, as in: source <({installed} --print-completion bash)",
    )
    _describe(parser, parser.prog, [lines[0] for lines in examples.values()])
    for name, command in commands_of(parser).items():
        _describe(command, parser.prog, examples.get(name, ()))


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of its commands, by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def _describe(parser: argparse.ArgumentParser, program: str, examples: Sequence[str]) -> None:
    parser.formatter_class = HelpFormatter
    if examples:
        parser.epilog = "\n".join(["examples:", *(f"  {program} {line}" for line in examples)])
    for command in commands_of(parser).values():
        _describe(command, program, ())
