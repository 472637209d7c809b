"""Hostile command lines for every command of a parser, and the folder that they name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hypothesis import strategies as st

from ga.cli.help import commands_of

NUMBERS: Final = (
    *("0", "1", "2", "3", "-1", "0.5", "1e3", "NaN", "-nan", "inf", "-inf", "1e999", "-0.0"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 30),
    *("9" * 5000, "-" + "9" * 5000, "\u00b2", "\u0663", "1_0", " 7 ", "0x10", "65535", "65536"),
)
TEXTS: Final = (
    *("", " ", "-", "--", "=", ",", ":", "a,,b", "x" * 300, "x" * 5000, "\udcff", "a\udc80b"),
    *("\n", "a\nb", "\u202e", "%s", "{}", "[bold]", "\\", "~", "$HOME"),
    *("../../etc/passwd", "://", "http://[", "//", "1/0", "1/2", "a=b=c", "\N{PILE OF POO}"),
)
FILES: Final = (
    *("folder", "fifo", "binary", "empty", "closed", "nowhere", "no/such/folder/file", "loop"),
    *("text.csv", "text.json", "prices.csv", "ledger.db", "folder/file", "readonly/file"),
    *("/dev/null", "/dev/full", "/dev/stdout", "/proc/self/mem", "\udcff.csv", "two.toml"),
)
SPECS: Final = (
    *("synthetic", "synthetic:bars=600", "synthetic:bars=\u00b2", "synthetic:bars=" + "9" * 5000),
    *("synthetic:bars", "synthetic:assets=0", "synthetic:,", "hyperliquid:BTC", "hyperliquid:"),
    *("hyperliquid:BTC,interval=1x", "hyperliquid:../x", "hyperliquid:\udcff", "eurusd", "goog:x"),
)
STORES: Final = (
    *("sqlite:///ledger.db", "sqlite:///", "sqlite:////", "sqlite://host/x"),
    *("postgresql://u@127.0.0.1:1/db", "postgresql://u@[::1/db", "postgresql://u@h:99999/db"),
    *("postgresql://u@127.0.0.1:1/db?sslmode=x", "postgresql:///?host=\udcff", "mysql://h/d"),
    *("postgresql://u@127.0.0.1:1/db?connect_timeout=x", "redis://127.0.0.1:1/x", "rediss://["),
    *("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0?a=b", "redis://h:99999/0", "unix://\udcff"),
)
OTHERS: Final = (
    *("127.0.0.1:1", "[::1]:1", "127.0.0.1:99999", "auto", "local", "0" * 12, "0" * 64, "1d", "3s"),
    *("2020-01-01", "9999-12-31T23:59:59", "0001-01-01", "2020-01-01T00:00:00+23:59", "ms"),
    *("rsi_filter", "time=0", "open=\u00b2", "Europe/Berlin", "../zone", "%", "%Q", "speedup"),
    *("compose", "compose:folder", "compose:binary", "kill", "all", "none", "http://127.0.0.1:1"),
)
POOL: Final = (*NUMBERS, *TEXTS, *FILES, *SPECS, *STORES, *OTHERS)
"""Values of options and arguments."""


_ANY_TEXT: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | (
    st.binary(max_size=12).map(lambda name: os.fsdecode(name.replace(b"\0", b"")))
)
"""What a process can be given: bytes without NUL, and a half of a surrogate pair only where it
stands for a byte that is not UTF-8 (PEP 383)."""
_EVERY: Final = 5


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A command without subcommands."""

    words: tuple[str, ...]
    """Its name, as in ``("data", "check")``."""
    actions: tuple[argparse.Action, ...]
    """Its options and arguments, without those that only print a text."""


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every command of a parser that has no subcommands."""
    commands = commands_of(parser)
    for name, command in commands.items():
        yield from leaves(command, (*words, name))
    if not commands:
        shown = [a for a in parser._actions if a.dest not in ("help", "version")]
        printing = [a for a in shown if "completion" not in a.dest]
        yield Leaf(words=words, actions=tuple(printing))


def argvs(leaf: Leaf, usual: Mapping[str, Sequence[str]]) -> st.SearchStrategy[list[str]]:
    """Command lines of a command.

    Args:
        usual: by the name of an option or argument, values that it takes. They stand next to the
            hostile ones, since otherwise nearly every command line ends at its first argument.
    """

    def value(action: argparse.Action) -> st.SearchStrategy[str]:
        good = [*usual.get(action.dest, ()), *(str(one) for one in action.choices or ())]
        hostile = st.sampled_from(POOL) | _ANY_TEXT
        return st.sampled_from(good) | hostile if good else hostile

    def words_of(action: argparse.Action) -> st.SearchStrategy[list[str]]:
        if action.nargs == 0:
            return st.just([action.option_strings[-1]])
        several = action.nargs in ("+", "*")
        values = st.lists(value(action), min_size=1, max_size=3 if several else 1)
        if not action.option_strings:
            return values if action.nargs != "?" else st.just([]) | values
        name = action.option_strings[-1]
        joined = value(action).map(lambda text: [f"{name}={text}"])
        return joined | values.map(lambda texts: [name, *texts])

    needed = [a for a in leaf.actions if a.required or not a.option_strings]
    free = [a for a in leaf.actions if a not in needed]
    some = st.lists(st.sampled_from(free), max_size=4, unique=True) if free else st.just([])
    return some.flatmap(
        lambda chosen: st.tuples(*(words_of(action) for action in (*chosen, *needed)))
    ).map(lambda parts: [*leaf.words, *(word for part in parts for word in part)])


def make_files(folder: Path) -> None:
    """Fill a folder with what ``FILES`` names."""
    for name in ("folder", "readonly"):
        (folder / name).mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "binary").write_bytes(bytes(range(256)) * 40)
    (folder / "empty").touch()
    (folder / "loop").symlink_to("loop")
    (folder / "text.csv").write_text("not,a,market\n1,2\n")
    (folder / "text.json").write_text('{"a": [1, 2')
    (folder / "two.toml").write_text("schema = 1\n[")
    rows = [f"2020-01-{day:02},1,2,0.5,1.5,1" for day in range(1, 29)]
    table = "\n".join(["time,open,high,low,close,volume", *rows])
    for name in ("prices.csv", "\udcff.csv"):
        (folder / name).write_text(table)
    (folder / "closed").write_text("secret")
    (folder / "closed").chmod(0)
    (folder / "readonly").chmod(0o500)


def one_by_one(leaf: Leaf, usual: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Command lines with one hostile value each: every option with each fifth value of ``POOL``,
    and every value with each fifth option.

    Args:
        usual: as for ``argvs``; the first one is what the others have.
    """
    named = {action.dest for action in leaf.actions}

    def words_of(action: argparse.Action, value: str) -> list[str]:
        return [f"{action.option_strings[-1]}={value}"] if action.option_strings else [value]

    def others(skipped: argparse.Action) -> list[str]:
        found = ["--json"] if "json" in named else []
        for action in leaf.actions:
            needed = action.required or not action.option_strings or action.dest == "store"
            if action is not skipped and needed:
                good = usual.get(action.dest) or [str(one) for one in action.choices or ("x",)]
                found += words_of(action, good[0])
        return found

    for number, action in enumerate(leaf.actions):
        if action.nargs == 0:
            yield [*leaf.words, action.option_strings[-1], *others(action)]
            continue
        for value in POOL[number % _EVERY :: _EVERY]:
            yield [*leaf.words, *others(action), *words_of(action, value)]
