"""``signals``: positions of strategies on any market, as it is or as it grows, and their check."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np

from ga.analysis.holdout import positions
from ga.cli.runs import spec_of
from ga.cli.strategies import kept
from ga.errors import InputError
from ga.exported import Exported, read_exported
from ga.live.check import check
from ga.live.follow import Follower
from ga.live.growing import GrowingFiles
from ga.live.record import Line, Record, iso, read_record


class _AddMarket(Protocol):
    def __call__(self, command: argparse.ArgumentParser, *, required: bool) -> None:
        """Add the options of a market."""


def add_parser(
    add: Callable[[str, str], argparse.ArgumentParser],
    add_market: _AddMarket,
    add_store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the command and its options."""
    command = add(
        "signals",
        "When a strategy changes its target position, on any market; with --follow, the positions"
        " on each new bar of a file that grows.",
    )
    command.add_argument(
        "strategy",
        nargs="*",
        help="the start of its key, or a file that `export` wrote; several with --follow, none with"
        " --check",
    )
    add_market(command, required=True)
    command.add_argument(
        "--follow",
        action="store_true",
        help="wait for bars, and print a JSON line for each once it has closed, until Ctrl-C",
    )
    command.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="with --follow: record the lines here, and continue after its last one"
        " (default: no record)",
    )
    command.add_argument(
        "--poll", type=float, default=5.0, help="seconds between two looks at the file (default: 5)"
    )
    command.add_argument(
        "--delay",
        type=float,
        default=5.0,
        help="seconds after its end from which the last bar of the file counts as closed; a bar"
        " with a later one does at once (default: 5)",
    )
    command.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="compare the positions that --state recorded with those of the backtest on the same"
        " bars; exit status 1 if they differ (default: no comparison)",
    )
    add_store(command)


def signals(options: argparse.Namespace) -> int:
    """List the changes of a strategy's target position, follow a market, or check a record."""
    if options.check is not None:
        return _check(options)
    if options.follow:
        return _follow(options, clock=time.time, wait=time.sleep)
    if options.state is not None:
        raise InputError("--state: is for --follow; give both, or neither")
    if len(options.strategy) != 1:
        raise InputError(
            f"signals: {len(options.strategy)} strategies given; give one, or --follow for several"
        )
    return _list(options)


def _list(options: argparse.Namespace) -> int:
    genome = _strategy(options.strategy[0], options.store).genome
    market = spec_of(options).load()
    targets = positions(market, genome)
    before = np.vstack([np.zeros(targets.shape[1]), targets[:-1]])
    rows = [
        {"time": iso(int(market.times[t])), "asset": market.assets[a], "position": targets[t, a]}
        for t, a in np.argwhere(targets != before).tolist()
    ]
    if options.json:
        now = dict(zip(market.assets, targets[-1].tolist(), strict=True))
        print(json.dumps({"changes": rows, "now": now, "as_of": iso(int(market.times[-1]))}))
    else:
        _print_csv(rows, sys.stdout)
    return 0


def _strategy(named: str, store: str) -> Exported:
    if os.path.exists(named):
        return read_exported(Path(named))
    record = kept(store, named)[0]
    return Exported(key=record.outcome.key, genome=record.genome)


def _strategies(options: argparse.Namespace) -> Sequence[Exported]:
    found = [_strategy(named, options.store) for named in options.strategy]
    if not found:
        raise InputError("signals --follow: no strategy given; give keys, or files of `export`")
    keys = [one.key for one in found]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"signals --follow: strategy {key[:10]} is given twice; give it once")
    return found


def _follow(
    options: argparse.Namespace, *, clock: Callable[[], float], wait: Callable[[float], None]
) -> int:
    for name in ("poll", "delay"):
        value = getattr(options, name)
        least = 0.01 if name == "poll" else 0.0
        if not least <= value <= 86_400.0:
            raise InputError(f"--{name} must be {least:g}..86400 seconds, not {value:g}")
    strategies, spec = _strategies(options), spec_of(options)
    source = GrowingFiles(spec, _say)
    with nullcontext() if options.state is None else Record(options.state) as record:
        follower = Follower(
            strategies,
            source,
            name=spec.spec,
            record=record,
            path=options.state,
            clock=clock,
            delay=options.delay,
            emit=_print_line,
        )
        while True:
            follower.step()
            wait(options.poll)


def _print_line(line: Line) -> None:
    print(line.text, flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _check(options: argparse.Namespace) -> int:
    if options.strategy or options.follow or options.state is not None:
        raise InputError(
            "signals --check: the record names its strategies; leave strategies, --follow and"
            " --state out"
        )
    header, lines = read_record(options.check)
    if not lines:
        raise InputError(f"--check {options.check}: has no bar; there is nothing to compare")
    found = check(header, lines, spec_of(options).load())
    first = found.first
    if options.json:
        shown = first and {"kind": first.kind, "time": iso(first.time), "detail": first.detail}
        print(json.dumps({"recorded": len(lines), "equal": found.bars, "difference": shown}))
    elif first is None:
        span = f"{iso(lines[0].time)} to {iso(lines[-1].time)}"
        print(f"{len(lines)} bars, {span}: the live positions are those of the backtest")
    else:
        print(f"first difference after {found.bars} of {len(lines)} bars")
        print(f"{first.kind} {iso(first.time)}: {first.detail}")
    return 0 if first is None else 1


def _print_csv(rows: list[dict[str, object]], file: TextIO) -> None:
    writer = csv.DictWriter(file, ["time", "asset", "position"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
