"""Options of ``python -m ga``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ga import __version__
from ga.backtest.simulation import Costs
from ga.cli import cluster, data, prune, serve, signals
from ga.cli import ledger as ledger_commands
from ga.cli import plan as capacity
from ga.cli.help import Parser, finish
from ga.environment import command_name, setting
from ga.errors import InputError
from ga.metrics import LOOPBACK
from ga.ops import preflight
from ga.workflow import MODES

DEFAULT_STORE = "sqlite:///ga.db"


_RUN = "the start of its id, as `runs` lists it"
_EXAMPLES = {
    "evolve": (
        "evolve --market eurusd --seed 7",
        "evolve --market prices.csv --population-size 500 --generations 50",
        "evolve --market eurusd --mode distributed --address 127.0.0.1:6379",
    ),
    "resume": ("resume 1f0c",),
    "runs": ("runs --store ga.db",),
    "strategies": ("strategies 1f0c --limit 10",),
    "families": ("families",),
    "show": ("show 8b3f9c9f47 --out curve.html",),
    "export": (
        "export 8b3f9c9f47 --out strategy.json",
        "export --all 1f0c --out series.parquet",
    ),
    "signals": (
        "signals 8b3f9c9f47 --market eurusd",
        "signals 8b3f9c9f47 strategy.json --market live.csv --follow --state positions.jsonl",
        "signals --check positions.jsonl --market live.csv",
    ),
    "verify": ("verify 1f0c",),
    "backup": ("backup ledger.backup --keep 3",),
    "restore": ("restore ledger.backup --store new.db",),
    "prune": ("prune --older-than 90", "prune --older-than 90 --keep-best 3 --yes"),
    "plan": ("plan --population 500 --generations 50 --assets 2 --bars 20000 --deadline 8h",),
    "data": ("data check prices.csv", "data check prices/ --out check.html"),
    "data check": ("data check prices.csv", "data check prices/ --out check.html"),
    "serve": ("serve --port 8000 --markets prices/",),
    "compile": ("compile",),
    "numerics": ("numerics", "numerics --digests"),
    "cluster": ("cluster init", "cluster up", "cluster status", "cluster scale 3", "cluster down"),
    "cluster init": ("cluster init", "cluster init --webhook https://example.com/alerts"),
    "cluster up": ("cluster up",),
    "cluster down": ("cluster down", "cluster down --volumes"),
    "cluster status": ("cluster status --json",),
    "cluster scale": ("cluster scale 3",),
    "cluster drain": ("cluster drain 10.0.0.7 --seconds 120",),
    "cluster logs": ("cluster logs ray-head",),
    "preflight": ("preflight --json",),
}


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        """Refuse like all other bad input: in one line, without the usage before it."""
        raise InputError(f"{message}; see {self.prog} --help")


Add = Callable[[str, str], argparse.ArgumentParser]
"""Adds a command with this name and help text."""


def make_parser() -> argparse.ArgumentParser:
    """Options of every command."""
    parser = _Parser(prog=command_name("ga", "ga"), description="Evolve trading strategies.")
    parser.add_argument("--version", action="version", version=f"evolution-gate {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="print one JSON value on stdout")
        return command

    # In the order of the help.
    _add_runs(add)
    _add_readers(add)
    ledger_commands.register(add, _add_store)
    prune.register(add, _add_store)
    capacity.add_parser(add)
    serve.register(add, _add_store)
    add("compile", "Compile all kernels now, instead of at their first use.")
    numerics = add("numerics", "Check that this machine computes what all others compute.")
    numerics.add_argument("--digests", action="store_true", help="print the digests as a table")
    data.add_parser(commands, add_reading)
    cluster.add_parser(commands)
    preflight.add_parser(commands)
    finish(parser, installed="ga", examples=_EXAMPLES)
    return parser


def _add_runs(add: Add) -> None:
    """``evolve`` and ``resume``."""
    evolve = add("evolve", "Evolve strategies on a market.")
    _add_market(evolve, required=True)
    evolve.add_argument(
        "--population-size", type=int, default=200, help="individuals of a generation"
    )
    evolve.add_argument(
        "--generations", type=int, default=20, help="how many, with the first, which is random"
    )
    evolve.add_argument("--seed", type=int, default=0, help="fixes the history (default: 0)")
    evolve.add_argument(
        "--families", help="comma-separated (default: all that the market has the data for)"
    )
    evolve.add_argument("--folds", type=int, default=4, help="walk-forward folds (default: 4)")
    evolve.add_argument("--fee", type=float, default=Costs().fee, help="fraction of traded value")
    evolve.add_argument(
        "--slippage",
        type=float,
        default=Costs().slippage,
        help="how much worse than the open a trade is filled, as a fraction of the price",
    )
    evolve.add_argument("--run-id", help="id of the run, 12 of 0-9a-f (default: a random one)")
    evolve.add_argument(
        "--max-cells", type=int, help="refuse a market of more bars x assets (default: no limit)"
    )
    _add_execution(evolve)
    _add_store(evolve)

    resume = add("resume", "Continue a run that was cut short.")
    resume.add_argument("run", help=_RUN)
    _add_execution(resume)
    _add_store(resume)


def _add_readers(add: Add) -> None:
    """Commands that read runs and strategies."""
    _add_store(add("runs", "List the runs of a store."))
    strategies = add("strategies", "List the best strategies of a run, or of all.")
    strategies.add_argument("run", nargs="?", help=f"{_RUN} (default: all runs)")
    strategies.add_argument("--limit", type=int, default=20, help="strategies to list")
    strategies.add_argument(
        "--all",
        action="store_true",
        dest="all_alike",
        help="also list strategies that are alike, as the ledger has them; needs no market"
        " (default: distinct ones, at most two of a family)",
    )
    _add_store(strategies)
    add("families", "List the parameter families and their genes.")
    show = add("show", "Show one strategy by part, fold and asset, with its equity curve.")
    show.add_argument("strategy", help="the start of its key, as `strategies` lists it")
    show.add_argument(
        "--out", type=Path, help="write a page with the curve here, .html (default: no page)"
    )
    _add_store(show)
    export = add(
        "export",
        "Write one strategy as JSON that needs no ledger; with --all, the return and position"
        " series of a run's strategies as Parquet.",
    )
    export.add_argument(
        "strategy",
        nargs="?",
        metavar="STRATEGY|RUN",
        help="the start of a strategy's key, as `strategies` lists it; with --all the start of a"
        " run's id (default: the only run)",
    )
    export.add_argument(
        "--out",
        type=Path,
        help="file (default: stdout); with --all, a file that ends in .parquet, or a new folder"
        " that gets one for each strategy",
    )
    export.add_argument(
        "--all",
        action="store_true",
        dest="series",
        help="the series of all distinct strategies of a run, by asset and bar",
    )
    export.add_argument(
        "--every", action="store_true", help="with --all: also strategies that are alike"
    )
    export.add_argument(
        "--limit", type=int, metavar="N", help="with --all: at most N (default: 20)"
    )
    _add_store(export)
    signals.add_parser(add, _add_market, _add_store)


def _add_execution(command: argparse.ArgumentParser) -> None:
    """Where and how a run is evaluated."""
    command.add_argument(
        "--mode",
        choices=MODES,
        default="auto",
        help="on this machine, or on a cluster; auto takes what is estimated to be faster",
    )
    command.add_argument(
        "--workers",
        type=int,
        help="processes, or slots to use, which a cluster that autoscales is asked for"
        " (default: all there are)",
    )
    command.add_argument(
        "--address",
        help="HOST:PORT of a Ray cluster (default: none; --mode distributed then starts one on this"
        " machine)",
    )
    command.add_argument(
        "--time-budget",
        type=float,
        metavar="SECONDS",
        help="end between two generations once they have passed; the history up to there is that"
        " of the whole run, and `resume` continues it (default: none)",
    )
    command.add_argument(
        "--stop-after",
        type=int,
        metavar="N",
        help="end likewise after N generations without a better fitness (default: never)",
    )
    command.add_argument("--top", type=int, default=5, help="strategies to show (default: 5)")
    command.add_argument(
        "--all",
        action="store_true",
        dest="all_alike",
        help="show the best strategies even if they are alike (default: distinct ones, at most"
        " two of a family)",
    )
    command.add_argument(
        "--log", type=Path, help="append a JSON line for every batch here (default: no log)"
    )
    command.add_argument(
        "--cache",
        default=setting("GA_CACHE_URL"),
        help="outcomes of earlier runs: redis://HOST:PORT/DB; a URL with a password belongs in"
        " the variable GA_CACHE_URL, or the password in a file that GA_CACHE_PASSWORD_FILE"
        " names (default: that variable, else none)",
    )
    command.add_argument(
        "--metrics-port",
        type=int,
        help="serve Prometheus series on this port; 0: on any free one (default: none)",
    )
    command.add_argument(
        "--metrics-host",
        default=LOOPBACK,
        help="address to serve them on; 0.0.0.0: also for other machines (default: %(default)s)",
    )


def _add_store(command: argparse.ArgumentParser) -> None:
    """Where histories are kept."""
    command.add_argument(
        "--store",
        default=default_store(),
        help="history: a file, sqlite:///FILE or postgresql://...; a URL with a password"
        f" belongs in the variable GA_STORE (default: that, else {DEFAULT_STORE})",
    )


def _add_market(command: argparse.ArgumentParser, *, required: bool) -> None:
    """Which prices, and what part of them."""
    command.add_argument(
        "--market",
        required=required,
        help="eurusd, goog, synthetic[:assets=2,bars=5000,seed=0], hyperliquid:BTC+ETH, a file"
        " (.csv, .parquet, .feather, .json), or a folder of files",
    )
    command.add_argument("--assets", help="comma-separated (default: all that it has)")
    command.add_argument(
        "--start", help="first bar, ISO 8601, UTC if it has no offset (default: the market's first)"
    )
    command.add_argument("--end", help="bars before this time only (default: all)")
    command.add_argument(
        "--timeframe", help="coarser bars made of the market's: 4h, 1d (default: the market's)"
    )
    add_reading(command)


def add_reading(command: argparse.ArgumentParser) -> None:
    """How market files are read where their content leaves it open."""
    command.add_argument(
        "--time-format",
        help="how a file's times are written: s, ms, us, ns (since 1970), excel (days), or a"
        " format such as '%%d/%%m/%%Y %%H:%%M' (default: recognised)",
    )
    command.add_argument(
        "--columns",
        help="which columns of a file to take, by name or number: time=Date,open=2,volume=none"
        " (default: recognised by their names)",
    )
    command.add_argument(
        "--timezone",
        help="zone of a file's times without an offset, such as Europe/Berlin (default: UTC)",
    )
    command.add_argument(
        "--symbol", help="symbols of a file with several: SPY,QQQ (default: such a file is refused)"
    )
    command.add_argument(
        "--decimal", help="decimal mark of a file's numbers: . or , (default: recognised)"
    )


def default_store() -> str:
    """The ledger of ``GA_STORE``, or a file in the current folder."""
    return setting("GA_STORE") or DEFAULT_STORE
