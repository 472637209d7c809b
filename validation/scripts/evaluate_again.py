"""Repeat evaluations in a separate process, with the engine and on the independent path: ``python
-m validation.scripts.evaluate_again``.

The harness has a CPU budget, so it loads neither the engine's kernels nor their compiler. One
request a line on stdin, one answer a line on stdout, until stdin ends.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from evolution_gate.fixtures.system.launch import spawn

if TYPE_CHECKING:
    from ga.market import Market as Loaded
    from validation.independent.evaluation import Market

Parts = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An evaluation as the ledger holds it."""

    family: str
    genes: tuple[float, ...]
    fitness: float | None
    trades: int
    drawdown: float
    sharpes: Parts | None = None
    """In-sample, out-of-sample and on the hold-out; of a final strategy only."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """The same evaluation, repeated."""

    key: str
    fitness: float | None
    trades: int
    drawdown: float
    sharpes: Parts | None
    """By the engine, on the whole market."""
    path: bool
    """Whether there is an independent path for its family."""
    apart: str | None
    """How the stored values differ from the independent ones; empty: not; None: it decides by less
    than rounding, or there is no path.
    """


def evaluate_again(
    market: str, settings: Mapping[str, object], stored: Sequence[Stored]
) -> list[Repeated]:
    """Evaluate genomes on the visible part of a market, final strategies also on the whole.

    Args:
        market: a value of ``--market``.
        settings: as stored in the ledger.

    Raises:
        RuntimeError: the engine failed.
    """
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    request = {"market": market, "settings": settings, "stored": [asdict(one) for one in stored]}
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        _process.cache_clear()
        raise RuntimeError(f"evaluations were not repeated: exit status {process.wait()}")
    answer = json.loads(line)
    if "error" in answer:
        raise RuntimeError(f"evaluations were not repeated: {answer['error']}")
    return [Repeated(**{**one, "sharpes": _parts(one["sharpes"])}) for one in answer["found"]]


@cache
def _process() -> subprocess.Popen[str]:
    """One process for all requests. It loads the engine once, and ends when we close its input."""
    command = [sys.executable, "-m", __name__]
    # In a separate session: Ctrl-C must reach the harness only.
    process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and wait for it."""
    with suppress(BrokenPipeError):  # it has ended by itself
        process.communicate()


def _parts(found: Any) -> Parts | None:
    return None if found is None else (found[0], found[1], found[2])


def repeated(market: str, settings: Mapping[str, Any], stored: Sequence[Stored]) -> list[Repeated]:
    """The work of one request, in this process; see ``evaluate_again``."""
    from ga.analysis.holdout import PARTS, measure_performance
    from ga.backtest.simulation import Costs
    from ga.evaluation.evaluate import evaluate
    from ga.evaluation.settings import Settings
    from ga.genome import Genome
    from validation.independent import evaluation

    given = dict(settings)
    own = Settings(costs=Costs(**given.pop("costs")), **given)
    whole, visible, independent = _markets(market, json.dumps(settings, sort_keys=True))
    genomes = [Genome(one.family, tuple(one.genes)) for one in stored]
    found = []
    for one, genome, outcome in zip(stored, genomes, evaluate(visible, own, genomes), strict=True):
        sharpes: Parts | None = None
        apart: str | None = None
        path = evaluation.has_path(one.family)
        if one.sharpes is not None:
            (performance,) = measure_performance(whole, own, [genome])
            sharpes = _parts([performance.sharpe(part) for part in PARTS])
        if path:
            values = (one.fitness, one.trades, one.drawdown)
            apart = evaluation.outcome_differs(independent, settings, genome, values)
            if apart == "" and one.sharpes is not None:
                apart = evaluation.sharpes_differ(independent, settings, genome, one.sharpes)
        found.append(
            Repeated(
                key=outcome.key,
                fitness=outcome.fitness,
                trades=outcome.trades,
                drawdown=outcome.max_drawdown,
                sharpes=sharpes,
                path=path,
                apart=apart,
            )
        )
    return found


@lru_cache(maxsize=4)
def _markets(spec: str, settings: str) -> tuple[Loaded, Loaded, Market]:
    """A market whole and without its hold-out, and as plain arrays."""
    from ga.backtest.simulation import Costs
    from ga.evaluation.folds import visible
    from ga.evaluation.settings import Settings
    from ga.sources import load_market
    from validation.independent import accounts
    from validation.independent.evaluation import Market
    from validation.independent.prices import Prices

    given = json.loads(settings)
    whole = load_market(spec)
    assets = tuple(
        Prices(
            times=whole.times,
            open=whole.open[at],
            high=whole.high[at],
            low=whole.low[at],
            close=whole.close[at],
            volume=whole.volume[at],
            funding=None if whole.funding is None else whole.funding[at],
        )
        for at in range(len(whole.assets))
    )
    seen = accounts.visible(whole.bars, given)
    plain = Market(visible=tuple(prices.cut(seen) for prices in assets), whole=assets)
    own = Settings(costs=Costs(**given.pop("costs")), **given)
    return whole, visible(whole, own), plain


def main() -> None:
    """Answer requests."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            stored = [
                Stored(**{**one, "genes": tuple(one["genes"]), "sharpes": _parts(one["sharpes"])})
                for one in request["stored"]
            ]
            found = repeated(request["market"], request["settings"], stored)
            answer: dict[str, object] = {"found": [asdict(one) for one in found]}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
