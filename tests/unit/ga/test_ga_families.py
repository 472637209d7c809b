"""Every family: what its kernel must hold whatever its rule is, and its indicators."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from ga.backtest.panel import Panel
from ga.errors import InputError
from ga.families import FAMILIES, Changes, get_family
from ga.genome import Genome
from ga.market import Market
from ga.operators import Purpose, keyed, random_genome
from ga.sources import load_market, synthetic

NAMES = tuple(FAMILIES)


def genes_of(name: str, lanes: int, seed: int = 0) -> np.ndarray:
    family = get_family(name)
    draws = [random_genome(family, keyed(seed, Purpose.AUDIT, 0, i)).genes for i in range(lanes)]
    return np.array(draws)


def signals(name: str, market: Market, genes: np.ndarray, *, bars: int | None = None) -> np.ndarray:
    """Target positions (T, L) on a market's first asset."""
    genes = np.atleast_2d(genes)
    seen = market if bars is None else market.head(bars)
    changes = Changes.empty(len(genes), seen.bars)
    get_family(name).signals(Panel(seen, 0), genes, changes)
    for lane, count in enumerate(changes.counts):
        assert (np.diff(changes.bars[lane, :count]) > 0).all()
        assert (np.diff(changes.targets[lane, :count], prepend=0.0) != 0.0).all()
    return changes.positions(seen.bars)


def of(market: Market, **arrays: np.ndarray) -> Market:
    """A market like the first asset of another, with some arrays (T,) in place of its own."""
    names = ("open", "high", "low", "close", "volume", "funding")
    own = {name: getattr(market, name) for name in names}
    given = {k: (None if v is None else v[:1].copy()) for k, v in own.items()}
    given.update({k: v[None, :].copy() for k, v in arrays.items()})
    return Market(name="made", assets=market.assets[:1], times=market.times.copy(), **given)


def lanes_of(name: str, many: int) -> int:
    """Learned families take thousands of times longer: fewer of them show the same."""
    return max(3, many // 12) if get_family(name).learned else many


@pytest.fixture(scope="module")
def wild() -> Market:
    """Enough volatility that every rule fires, at any threshold."""
    return synthetic(assets=1, bars=2000, seed=21)


def test_gene_bounds_match_the_plan():
    expected = {
        "ema_crossover": [(5, 15), (18, 34), (0.001, 0.05), (0.1, 1), (0, 0.02)],
        "donchian_breakout": [(10, 30), (0.001, 0.02), (1, 3), (2, 10), (0, 1)],
        "rsi_filter": [(10, 20), (25, 40), (60, 80), (0, 1), (0, 1)],
    }
    for name, bounds in expected.items():
        assert [(g.low, g.high) for g in FAMILIES[name].genes] == bounds
    assert all(name == family.name for name, family in FAMILIES.items())
    with pytest.raises(InputError, match="unknown family 'astrology'"):
        get_family("astrology")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25)
@given(data=st.data())
def test_signals_have_no_lookahead(name, wild, data):
    seed = data.draw(st.integers(0, 10_000))
    cut = data.draw(st.integers(2, wild.bars - 1))
    genes = genes_of(name, 3, seed)
    whole = signals(name, wild, genes)
    assert signals(name, wild, genes, bars=cut).tobytes() == whole[:cut].tobytes()
    # A jump right after the cut shows a look of even one bar ahead; a missing bar often does not.
    jump = data.draw(st.sampled_from([0.3, 3.0]))
    changed = {}
    for field in ("open", "high", "low", "close", "volume", "funding"):
        changed[field] = getattr(wild, field)[0].copy()
        changed[field][cut:] *= jump
    assert signals(name, of(wild, **changed), genes)[:cut].tobytes() == whole[:cut].tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", ["eurusd", "goog", "synthetic:assets=1,bars=2000,seed=21"])
def test_every_gene_affects_signals(name, spec):
    """From one end of its bounds to the other, for several of 100 backgrounds, on every market."""
    family, found = get_family(name), load_market(spec)
    if family.needs_funding and found.funding is None:
        pytest.skip("the market has no funding")
    many = lanes_of(name, 100)
    for index, gene in enumerate(family.genes):
        low, high = genes_of(name, many), genes_of(name, many)
        low[:, index], high[:, index] = gene.low, gene.high
        differs = (signals(name, found, low) != signals(name, found, high)).any(axis=0)
        assert differs.sum() >= 2, f"{name}.{gene.name} changes {differs.sum()} of {many}"


@pytest.mark.parametrize("name", NAMES)
def test_family_trades_long_and_short(name, wild):
    market = wild if get_family(name).needs_funding else load_market("goog")
    targets = signals(name, market, genes_of(name, lanes_of(name, 40)))
    assert (targets > 0).any(axis=0).mean() > 0.5
    assert (targets < 0).any(axis=0).mean() > 0.5
    assert np.abs(targets).max() <= 1.0
    assert np.isfinite(targets).all()
    assert (np.diff(targets, axis=0) != 0).sum(axis=0).mean() > 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("price", [1.0, 0.1, 1234.5678, 3e-8])
@pytest.mark.parametrize("volume", [0.0, 7.3])
def test_constant_market_is_never_traded(name, price, volume, wild):
    flat, nothing = np.full(wild.bars, price), np.zeros(wild.bars)
    still = of(
        wild,
        open=flat,
        high=flat,
        low=flat,
        close=flat,
        volume=np.full(wild.bars, volume),
        funding=nothing,
    )
    assert not signals(name, still, genes_of(name, lanes_of(name, 30))).any()


@pytest.mark.parametrize("name", NAMES)
def test_zero_volume_and_jumps_give_no_nan(name, wild):
    genes = genes_of(name, lanes_of(name, 30))
    close = wild.close[0] * np.where(np.arange(wild.bars) % 97 == 0, 40.0, 1.0)
    high, low = np.maximum(close, wild.open[0]), np.minimum(close, wild.open[0])
    jumping = of(wild, high=high, low=low, close=close, volume=np.zeros(wild.bars))
    targets = signals(name, jumping, genes)
    assert np.isfinite(targets).all()
    assert np.abs(targets).max() <= 1.0


@pytest.mark.parametrize("name", NAMES)
def test_signals_are_equal_alone_and_in_batch(name, wild):
    genes = genes_of(name, 17, seed=3)
    batch = signals(name, wild, genes)
    shuffled = signals(name, wild, genes[::-1].copy())
    assert shuffled[:, ::-1].tobytes() == batch.tobytes()
    for lane in range(0, 17, 4):
        alone = signals(name, wild, genes[lane])
        assert alone.tobytes() == batch[:, lane : lane + 1].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_signals_do_not_depend_on_currency(name, wild):
    """All rules are ratios: quoting every price in units twice as small changes nothing."""
    genes = genes_of(name, lanes_of(name, 20))
    prices = {k: getattr(wild, k)[0] * 2.0 for k in ("open", "high", "low", "close")}
    assert (
        signals(name, of(wild, **prices), genes).tobytes() == signals(name, wild, genes).tobytes()
    )


def test_carry_refuses_market_without_funding():
    with pytest.raises(InputError, match="needs a market with a funding column"):
        signals("funding_rate_carry", load_market("goog"), genes_of("funding_rate_carry", 2))


def ema(close: np.ndarray, period: int) -> np.ndarray:
    """Started at the first close, as the family's docstring says."""
    return talib.EMA(np.concatenate([np.full(period - 1, close[0]), close]), period)[period - 1 :]


def test_ema_crossover_matches_talib(wild):
    """TA-Lib starts at a mean; padded with the first close that mean is the first close."""
    close = wild.close[0]
    fast_n, slow_n, momentum, strength, trend = 7, 23, 0.004, 0.6, 0.002
    separation = ema(close, fast_n) / ema(close, slow_n) - 1.0
    held, expected = 0.0, np.zeros(close.size)
    for t in range(slow_n, close.size):
        moved = close[t] / close[t - slow_n] - 1.0
        if separation[t] > trend and moved > momentum:
            held = strength
        elif separation[t] < -trend and moved < -momentum:
            held = -strength
        elif (held > 0 and separation[t] < 0) or (held < 0 and separation[t] > 0):
            held = 0.0
        expected[t] = held
    genes = np.array([fast_n, slow_n, momentum, strength, trend])
    assert (expected > 0).any()
    assert (expected < 0).any()
    np.testing.assert_array_equal(signals("ema_crossover", wild, genes)[:, 0], expected)


def test_bollinger_bands_match_talib(wild):
    close = wild.close[0]
    n, multiplier, squeeze, strength, scaling = 20, 2.0, 0.15, 0.03, 0.9
    upper, middle, lower = talib.BBANDS(close, n, multiplier, multiplier)
    b, width = (close - lower) / (upper - lower), (upper - lower) / middle
    held, follows, expected = 0.0, False, np.zeros(close.size)
    for t in range(n + 125, close.size):
        before = width[t - 125 : t]
        low, high = before.min(), before.max()
        squeezed = width[t - 1] <= low + squeeze * (high - low)
        size = min(1.0, scaling * abs(b[t] - 0.5))
        if held == 0.0:
            up = b[t] > 0.5
            if squeezed and not -strength <= b[t] <= 1.0 + strength:
                held, follows = (size if up else -size), True
            elif not squeezed and not 0.0 <= b[t] <= 1.0:
                held, follows = (-size if up else size), False
        else:
            above = b[t] > 0.5
            # Out at the moving average: a follower when price falls back, a fader when it returns.
            back = above != (held > 0) if follows else above == (held > 0)
            if back:
                held = 0.0
        expected[t] = held
    genes = np.array([n, multiplier, squeeze, strength, scaling])
    found = signals("bollinger_bands", wild, genes)[:, 0]
    assert len(np.unique(np.sign(expected))) == 3
    # TA-Lib's one-pass variance is good to about 1e-9 here.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_donchian_entries_match_talib():
    wild = synthetic(assets=1, bars=9000, seed=22)
    close, volume = wild.close[0], wild.volume[0]
    period, buffer, confirm = 15, 0.004, 1.2
    upper = np.roll(talib.MAX(wild.high[0], period), 1)
    lower = np.roll(talib.MIN(wild.low[0], period), 1)
    mean_volume = np.roll(talib.SMA(volume, period), 1)
    trend = close - talib.SMA(close, 8 * period)
    grown = np.cumsum(close) / np.arange(1, close.size + 1)
    trend[: 8 * period - 1] = (close - grown)[: 8 * period - 1]
    genes = np.array([period, buffer, confirm, 4, 0.25])
    targets = signals("donchian_breakout", wild, genes)[:, 0]
    entries = np.flatnonzero((targets[1:] != 0) & (np.sign(targets[1:]) != np.sign(targets[:-1])))
    broke_up = (close > upper * (1 + buffer)) & (volume >= confirm * mean_volume)
    broke_down = (close < lower * (1 - buffer)) & (volume >= confirm * mean_volume)
    fired = [t for t in range(2 * period, close.size) if broke_up[t] or broke_down[t]]
    assert len(entries) > 100
    assert (np.abs(targets[entries + 1]) == 0.75).sum() > 5
    for t in entries + 1:
        side = 1.0 if broke_up[t] else -1.0
        assert broke_up[t] or broke_down[t]
        assert targets[t] == side * (1.0 if side * trend[t] > 0 else 0.75)
    # And no breakout is missed: each leaves a position on its side.
    assert all((targets[t] > 0) == broke_up[t] for t in fired)


def test_genome_hash_covers_family_and_genes():
    one = Genome("rsi_filter", (14.0, 30.0, 70.0, 0.2, 0.3))
    assert one.hash == Genome("rsi_filter", (14.0, 30.0, 70.0, 0.2, 0.3)).hash
    assert one.hash != Genome("rsi_filter", (14.0, 30.0, 70.0, 0.2, np.nextafter(0.3, 1))).hash
    assert one.hash != Genome("ema_crossover", one.genes).hash
