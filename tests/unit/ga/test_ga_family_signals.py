"""Masks, latches and searches against the plainest loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ga.backtest.jit import kernel
from ga.backtest.simd.masks import masks
from ga.backtest.simd.search import first_below, first_stopped
from ga.families.signals import (
    LEAVE_LONG,
    LEAVE_SHORT,
    LONG,
    SHORT,
    flags,
    room,
    seal,
    seek,
    settle,
    sides,
)
from ga.families.volatility_scaling import lasted


@masks
def _rule(a, b, level):
    moved = a - b * 2.0
    return (a > b) & (moved < level), ~(a >= b) | (a <= level), -a + 1.0 > b


@kernel()
def _written(a, b, level, words):
    _rule(a, b, level, words, a.size)


@kernel()
def _walk(words, start, bars, most):
    """Bars found one after another, with their flags."""
    found = np.zeros((most, 2), np.int64)
    t, count = seek(words, start, LONG | LEAVE_SHORT), 0
    while t < bars and count < most:
        found[count] = t, flags(words, t)
        count += 1
        t = seek(words, t + 1, LONG | LEAVE_SHORT)
    return found[:count]


@kernel()
def _first_below(series, t, stop, factor, bound):
    return first_below(series, t, stop, factor, bound)


@kernel()
def _first_stopped(close, t, end, side, best, stop, armed, distance):
    return first_stopped(close, t, end, side, best, stop, armed, distance)


@kernel()
def _rows(now, before, bars):
    return lasted(now, before, bars)


def packed(truths: np.ndarray) -> np.ndarray:
    """(T, 4) truths as sealed masks."""
    words = room(len(truths))
    words[:] = 0
    for t, row in enumerate(truths):
        for which, truth in enumerate(row):
            words[t >> 6, which] |= np.uint64(int(truth) << (t & 63))
    return words


@st.composite
def conditions(draw: st.DrawFn) -> np.ndarray:
    """(T, 4) truths, rare or frequent, long enough for several words."""
    bars = draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.random((bars, 4)) < draw(st.sampled_from([0.01, 0.1, 0.5, 0.95]))


@pytest.mark.parametrize("bars", [1, 7, 8, 63, 64, 65, 128, 200])
def test_masks_equal_the_rule_per_bar(bars: int) -> None:
    rng = np.random.default_rng(bars)
    a, b = rng.normal(size=(2, bars))
    a[rng.random(bars) < 0.2] = np.nan
    b[rng.random(bars) < 0.2] = a[0]
    words = np.full(((bars + 63) // 64, 4), 77, np.uint64)
    _written(a, b, 0.3, words)
    wanted = [(a > b) & (a - b * 2.0 < 0.3), ~(a >= b) | (a <= 0.3), -a + 1.0 > b, np.zeros(bars)]
    found = np.unpackbits(words.view(np.uint8).reshape(-1, 4, 8), axis=2, bitorder="little")
    for which, truths in enumerate(wanted):
        line = found[:, which].reshape(-1)
        np.testing.assert_array_equal(line[:bars], truths)
        assert not line[bars:].any()


@given(conditions(), st.integers(0, 4), st.data())
def test_latches_equal_a_state_machine(truths: np.ndarray, tiles: int, data: st.DataObject) -> None:
    # A rule never says both of a pair at once.
    truths[:, 1] &= ~truths[:, 0]
    truths[:, 2] &= ~truths[:, 0]
    truths[:, 3] &= ~truths[:, 1]
    end, first = len(truths), data.draw(st.integers(0, 50))
    cuts = sorted({0, end, *(64 * data.draw(st.integers(0, end // 64)) for _ in range(tiles))})
    state = np.zeros(3, np.uint64)
    bars, targets = np.zeros(first + end, np.int32), np.zeros(first + end)
    for begin, stop in itertools.pairwise(cuts):
        words = packed(truths[begin:stop])
        words[(stop - begin + 63) // 64 :] = 0
        sides(words, first + begin, first + stop, state, bars, targets)
    position, wanted = 0, []
    for t, (long, short, leave_long, leave_short) in enumerate(truths):
        before = position
        if long:
            position = 1
        elif short:
            position = -1
        elif (position == 1 and leave_long) or (position == -1 and leave_short):
            position = 0
        if position != before:
            wanted.append((first + t, position))
    count = int(state[2])
    assert list(zip(bars[:count].tolist(), targets[:count].tolist(), strict=True)) == wanted


@given(conditions(), st.data())
def test_seek_finds_every_flagged_bar(truths: np.ndarray, data: st.DataObject) -> None:
    words, bars = packed(truths), len(truths)
    seal(words, bars)
    start = data.draw(st.integers(0, bars - 1))
    values = (LONG, SHORT, LEAVE_LONG, LEAVE_SHORT)
    codes = [sum(v for v, truth in zip(values, row, strict=True) if truth) for row in truths]
    wanted = [(t, code) for t, code in enumerate(codes) if t >= start and code & 9]
    assert _walk(words, start, bars, bars).tolist() == [list(one) for one in wanted]


@given(st.lists(st.sampled_from([0.0, 0.5, -0.5, 1.0]), max_size=30))
def test_settle_keeps_effective_changes(targets: list[float]) -> None:
    bars, held = np.arange(len(targets), dtype=np.int32), np.array(targets)
    count = settle(bars, held, len(targets))
    wanted, last = [], 0.0
    for bar, target in enumerate(targets):
        if target != last:
            wanted.append((bar, target))
        last = target
    assert list(zip(bars[:count].tolist(), held[:count].tolist(), strict=True)) == wanted


@given(st.integers(0, 2**32), st.integers(0, 40), st.integers(1, 60), st.sampled_from([1.0, -1.0]))
def test_first_below_matches_loop(seed: int, t: int, span: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    series = np.pad(rng.normal(size=t + span), (0, 8))
    series[rng.random(series.size) < 0.05] = np.nan
    bound = float(rng.normal() - 1.5)
    wanted = next((k for k in range(t, t + span) if not factor * series[k] >= bound), t + span)
    assert _first_below(series, t, t + span, factor, bound) == wanted


@given(st.integers(0, 2**32), st.integers(1, 90), st.sampled_from([1.0, -1.0]))
def test_first_stopped_matches_loop(seed: int, span: int, side: float) -> None:
    rng = np.random.default_rng(seed)
    close = np.pad(100.0 + np.cumsum(rng.normal(size=span + 1)), (0, 8))
    unit, price = float(rng.uniform(0.2, 3)), side * close[0]
    start, armed, distance = price - 2 * unit, price + unit, float(rng.uniform(0.3, 3)) * unit
    best, stop, wanted = price, start, span + 1
    for t in range(1, span + 1):
        now = side * close[t]
        if now <= stop:
            wanted = t
            break
        best = max(best, now)
        if best >= armed:
            stop = max(stop, best - distance)
    assert _first_stopped(close, 1, span + 1, side, price, start, armed, distance) == wanted


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(2, 10))
def test_persistence_spans_mask_words(now: int, before: int, bars: int) -> None:
    line = f"{before:064b}"[::-1] + f"{now:064b}"[::-1]
    wanted = sum((line[64 + t - bars + 1 : 64 + t + 1] == "1" * bars) << t for t in range(64))
    assert int(_rows(np.uint64(now), np.uint64(before), bars)) == wanted
