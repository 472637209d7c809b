"""The independent path: another implementation of every rule family and of the accounts."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import validation.independent
from ga.analysis.holdout import PARTS, measure_performance
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import split, visible
from ga.evaluation.settings import Settings
from ga.families import FAMILIES
from ga.genome import Genome
from ga.market import Market
from ga.operators import Purpose, keyed, random_genome
from ga.sources import synthetic
from validation.independent import accounts
from validation.independent.evaluation import Market as Plain
from validation.independent.evaluation import outcome_differs, sharpes_differ
from validation.independent.prices import Prices
from validation.independent.rules import RULES

LEARNED = {name for name, family in FAMILIES.items() if family.learned}
MANY = 12


@pytest.fixture(scope="module")
def market() -> Market:
    """With funding, and wild enough that every rule trades."""
    return synthetic(assets=2, bars=1800, seed=21)


def plain(market: Market, settings: Settings) -> Plain:
    assets = tuple(
        Prices(
            times=market.times,
            open=market.open[at],
            high=market.high[at],
            low=market.low[at],
            close=market.close[at],
            volume=market.volume[at],
            funding=None if market.funding is None else market.funding[at],
        )
        for at in range(len(market.assets))
    )
    seen = accounts.visible(market.bars, dataclasses.asdict(settings))
    return Plain(visible=tuple(one.cut(seen) for one in assets), whole=assets)


def genomes(name: str, many: int = MANY) -> list[Genome]:
    return [
        random_genome(FAMILIES[name], keyed(11, Purpose.AUDIT, 0, number)) for number in range(many)
    ]


def test_every_rule_family_has_a_path() -> None:
    assert set(RULES) == set(FAMILIES) - LEARNED
    assert {"linear_svc_classifier", "pca_tree_quantile"} == LEARNED


def test_path_shares_no_code_with_the_engine() -> None:
    for file in Path(validation.independent.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            assert not any(name.split(".")[0] in ("ga", "numba") for name in names), file


@pytest.mark.parametrize("name", RULES)
def test_outcomes_and_hold_out_equal_the_engine(name: str, market: Market) -> None:
    settings = Settings(folds=3)
    stored = evaluate(visible(market, settings), settings, genomes(name))
    prices, given = plain(market, settings), dataclasses.asdict(settings)
    traded = 0
    for genome, one in zip(genomes(name), stored, strict=True):
        values = (one.fitness, one.trades, one.max_drawdown)
        assert outcome_differs(prices, given, genome, values) == ""
        traded += one.trades
        for wrong in (
            (one.fitness + 1e-6, one.trades, one.max_drawdown),
            (one.fitness, one.trades + 1, one.max_drawdown),
            (one.fitness, one.trades, one.max_drawdown + 1e-6),
            (None, one.trades, one.max_drawdown),
        ):
            assert outcome_differs(prices, given, genome, wrong)
    assert traded > 100
    for genome in genomes(name, 3):
        (found,) = measure_performance(market, settings, [genome])
        ratios = tuple(found.sharpe(part) for part in PARTS)
        assert sharpes_differ(prices, given, genome, ratios) == ""
        assert sharpes_differ(prices, given, genome, (*ratios[:2], ratios[2] + 1e-6))


def test_parts_of_a_market_equal_the_engine_s() -> None:
    for bars in (333, 720, 1001, 4999):
        for settings in (Settings(), Settings(folds=7, purge=2), Settings(out_of_sample=0.0)):
            given, parts = dataclasses.asdict(settings), split(bars, settings)
            assert accounts.in_sample(bars, given) == list(map(tuple, parts.in_sample.tolist()))
            outside = list(map(tuple, parts.out_of_sample.tolist()))
            assert accounts.out_of_sample(bars, given) == outside


def test_closed_account_stays_closed() -> None:
    close = np.array([100.0, 100.0, 250.0, 90.0, 90.0])
    prices = Prices(
        times=np.arange(5) * 3600 * 10**9,
        **dict.fromkeys(("open", "high", "low", "close", "volume"), close),
        funding=None,
    )
    settings = {"costs": {"fee": 0.0, "slippage": 0.0}}
    part = accounts.trade(prices, np.full(5, -1.0), 0, 5, settings)
    assert (part.drawdown, part.fills) == (1.0, 1)


def test_decision_within_rounding_is_not_judged() -> None:
    """Closes exactly at a threshold: prices moved by less than rounding decide otherwise."""
    settings = Settings(folds=1, holdout=0.0, warm_up=0.1, out_of_sample=0.0)
    bars = 400
    close = np.where(np.arange(bars) % 40 < 20, 100.0, 110.0)
    prices = Prices(
        times=np.arange(bars) * 3600 * 10**9,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=np.ones(bars),
        funding=None,
    )
    market = Plain(visible=(prices,), whole=(prices,))
    given = dataclasses.asdict(settings)
    # Out when the close falls below the middle of the channel, at which it lies.
    genome = ("donchian_breakout", (10.0, 0.001, 1.0, 2.0, 0.0))
    whole = dataclasses.asdict(settings)
    expected = accounts.result([prices], [RULES[genome[0]](prices, genome[1])], whole)
    moved = prices.shaken(1e-12, 0)
    other = accounts.result([moved], [RULES[genome[0]](moved, genome[1])], whole)
    assert other.fitness != expected.fitness
    stored = (other.fitness, other.trades, other.drawdown)
    assert outcome_differs(market, given, genome, stored) is None
    # More than such decisions can change is wrong all the same.
    far = 100.0 * abs(other.fitness - expected.fitness)
    assert outcome_differs(market, given, genome, (expected.fitness + far, *stored[1:]))
    # What nothing hangs on is judged.
    calm = ("donchian_breakout", (10.0, 0.02, 3.0, 2.0, 0.0))
    assert outcome_differs(market, given, calm, (0.0, 0, 0.0)) == ""
    assert outcome_differs(market, given, calm, (1.0, 0, 0.0))
