"""Additions to argparse's ``--help``: defaults of options, examples, and shell completion."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

_SHELLS: Final = ("bash", "zsh", "tcsh")


class Parser(argparse.ArgumentParser):
    """Refuses ``--option=--``, which argparse before Python 3.13 takes for an empty list."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """See argparse."""
        words = sys.argv[1:] if args is None else list(args)
        for word in words:
            if word.startswith("-") and word.endswith("=--"):
                self.error(f"argument {word[:-3]}: '--' is not a value")
        return super().parse_known_args(words, namespace)


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
        examples: Command, such as ``data check`` -> command lines without the program's name. The
            first of each command of the program is shown by the program's own help, too.
    """
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        const=installed,
        choices=_SHELLS,
        help=f"print a completion script, as in: source <({installed} --print-completion bash)",
    )
    first = [lines[0] for name, lines in examples.items() if " " not in name]
    _describe(parser, parser.prog, first, examples)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of its commands, by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def _describe(
    parser: argparse.ArgumentParser,
    program: str,
    lines: Sequence[str],
    examples: Mapping[str, Sequence[str]],
    path: str = "",
) -> None:
    """Add example ``lines`` to the help of a parser, and those of its commands to theirs."""
    parser.formatter_class = HelpFormatter
    if lines:
        parser.epilog = "\n".join(["examples:", *(f"  {program} {line}" for line in lines)])
    for name, command in commands_of(parser).items():
        full = f"{path}{name}"
        _describe(command, program, examples.get(full, ()), examples, f"{full} ")
