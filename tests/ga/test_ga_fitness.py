"""From a market and a genome to one number; what evolution may see, and what it may not."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ga import backtest, fitness
from ga.backtest import Costs
from ga.errors import InputError
from ga.evaluators.base import MAX_BATCH_SECONDS, MIN_BATCH_SECONDS, CostModel, cut, probes
from ga.families import FAMILIES, get_family
from ga.fitness import Settings, evaluate, evaluation_key, fold_ranges, holdout_sharpe, in_sample
from ga.genome import Genome
from ga.sources import synthetic
from ga.variation import Purpose, keyed, random_genome


def genomes(count: int, seed: int = 0) -> list[Genome]:
    families = list(FAMILIES.values())
    return [
        random_genome(families[i % len(families)], keyed(seed, Purpose.AUDIT, 0, i))
        for i in range(count)
    ]


def with_future(market, bars, seed=1):
    """The same market up to ``bars``; other prices after."""
    rng = np.random.default_rng(seed)
    changed = {}
    for name in ("open", "high", "low", "close", "volume"):
        array = getattr(market, name).copy()
        array[:, bars:] *= 1.0 + rng.random(array[:, bars:].shape)
        changed[name] = array
    changed["high"][:, bars:] = np.max([changed[n] for n in ("open", "high", "close")], axis=0)[
        :, bars:
    ]
    changed["low"][:, bars:] = np.min([changed[n] for n in ("open", "low", "close")], axis=0)[
        :, bars:
    ]
    return replace(market, times=market.times.copy(), funding=market.funding.copy(), **changed)


def test_fitness_is_the_mean_sharpe_over_assets_and_folds(market, settings):
    """Recomputed by hand from the equity curve of every asset and fold."""
    seen = in_sample(market, settings)
    assert seen.bars == 720
    edges = [72, 288, 504, 720]
    for genome in genomes(8):
        (outcome,) = evaluate(seen, settings, [genome])
        ratios, fills, drawdowns = [], 0, []
        for asset in range(2):
            arrays = [
                getattr(seen, n)[asset].copy() for n in ("open", "high", "low", "close", "volume")
            ]
            targets = get_family(genome.family).kernel(*arrays, np.array([genome.genes]))
            for start, stop in pairwise(edges):
                fold = np.array([start]), np.array([stop])
                costs = settings.costs
                args = (arrays[0], arrays[3], seen.funding[asset], targets, *fold)
                mean, std, _, worst, trades, _ = backtest.run(*args, costs.fee, costs.slippage)[
                    0, 0
                ]
                ratios.append(mean / std * np.sqrt(8766.0) if std > 0 else 0.0)
                fills += int(trades)
                drawdowns.append(worst)
        assert outcome.fitness == pytest.approx(np.mean(ratios), rel=1e-12)
        assert outcome.trades == fills
        assert outcome.max_drawdown == max(drawdowns)


def test_folds_are_contiguous_after_the_warm_up(settings):
    starts, stops = fold_ranges(720, settings)
    assert list(starts) == [72, 288, 504]
    assert list(stops) == [288, 504, 720]


def test_the_holdout_is_never_seen(market, settings):
    """Other prices in the hold-out change no fitness and no key; they change the hold-out's own
    figure, so the test would notice."""
    changed = with_future(market, 720)
    assert changed.hash != market.hash
    group = genomes(40)
    one = evaluate(in_sample(market, settings), settings, group)
    assert evaluate(in_sample(changed, settings), settings, group) == one
    held = [holdout_sharpe(m, settings, g) for m in (market, changed) for g in group]
    assert held[:40] != held[40:]
    # And the fence stands exactly there: the last bar before it does matter.
    earlier = evaluate(in_sample(with_future(market, 719), settings), settings, group)
    assert [o.fitness for o in earlier] != [o.fitness for o in one]


def test_the_holdout_figure_is_that_of_its_bars_alone(market, settings):
    changed = with_future(market, 0, seed=4)
    merged = {}
    for name in ("open", "high", "low", "close", "volume"):
        array = getattr(changed, name).copy()
        array[:, 300:] = getattr(market, name)[:, 300:]
        merged[name] = array
    late = replace(market, times=market.times.copy(), funding=market.funding.copy(), **merged)
    for genome in genomes(8):
        # All rules forget within 420 bars, all but the averages' last bits.
        one, other = (holdout_sharpe(m, settings, genome) for m in (market, late))
        if genome.family in ("donchian_breakout", "bollinger_bands"):
            continue
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)
    assert holdout_sharpe(market, Settings(holdout=0.0), genomes(1)[0]) is None


def test_outcomes_do_not_depend_on_the_batch(market, settings, monkeypatch):
    seen, group = in_sample(market, settings), genomes(50)
    together = evaluate(seen, settings, group)
    order = np.random.default_rng(0).permutation(50)
    shuffled = evaluate(seen, settings, [group[i] for i in order])
    assert [shuffled[list(order).index(i)] for i in range(50)] == together
    assert [evaluate(seen, settings, [g])[0] for g in group] == together
    monkeypatch.setattr(fitness, "_TARGET_CELLS", 3 * seen.bars)
    assert evaluate(seen, settings, group) == together


def test_a_guilty_genome_spoils_no_other(market, settings):
    seen = in_sample(market, settings)
    group = genomes(12)
    clean = evaluate(seen, settings, group)
    bad = Genome("ema_crossover", (5.0, 20.0))
    stranger = Genome("astrology", (1.0,))
    mixed = evaluate(seen, settings, [*group[:5], bad, stranger, *group[5:]])
    assert mixed[:5] + mixed[7:] == clean
    for failed in mixed[5:7]:
        assert failed.fitness is None
        assert failed.error
    assert "astrology" in mixed[6].error


def test_a_fitness_that_is_not_finite_is_a_failure(market, settings):
    seen = in_sample(market, settings)
    genome = Genome("ema_crossover", (5.0, 20.0, 0.001, np.nan, 0.0))
    (outcome,) = evaluate(seen, settings, [genome])
    assert outcome.fitness is None
    assert outcome.error == "fitness is not finite"


def test_the_key_depends_on_all_that_the_result_depends_on(market, settings):
    genome = genomes(1)[0]
    keys = {
        evaluation_key(g, h, s)
        for g in (genome, genomes(2)[1])
        for h in (market.hash, market.head(700).hash)
        for s in (
            settings,
            replace(settings, folds=4),
            replace(settings, holdout=0.3),
            replace(settings, warm_up=0.2),
            replace(settings, costs=Costs(fee=0.1)),
            replace(settings, costs=Costs(slippage=0.1)),
        )
    }
    assert len(keys) == 24


def test_the_key_depends_on_the_version_of_the_kernels(settings, monkeypatch):
    monkeypatch.setattr(fitness, "KERNEL_VERSION", 10**6)
    assert replace(settings).hash != settings.hash


@pytest.mark.parametrize(
    "bad",
    [
        {"folds": 0},
        {"folds": 101},
        {"holdout": -0.1},
        {"holdout": 0.95},
        {"costs": Costs(fee=-0.1)},
        {"costs": Costs(fee=float("nan"))},
        {"costs": Costs(slippage=0.5)},
    ],
)
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError):
        Settings(**bad)


def test_too_few_bars_for_the_folds_are_refused():
    with pytest.raises(InputError, match="too few for 20 folds"):
        in_sample(synthetic(bars=300), Settings(folds=20))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 1001])
@pytest.mark.parametrize("slots", [0, 1, 2, 7, 64])
def test_cut_gives_every_genome_to_exactly_one_batch(count, slots):
    group, costs = genomes(count), CostModel()
    costs.learn([g for g in group if g.family == "rsi_filter"][:3], 0.5)
    batches = cut(group, costs, slots)
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert all(batches)
    # Families stay together: each begins once.
    families = [group[i].family for batch in batches for i in batch]
    assert sum(a != b for a, b in pairwise(families)) <= 3


def test_cut_fills_batches_by_cost_and_makes_the_last_ones_small():
    group = [g for g in genomes(4000) if g.family == "ema_crossover"]
    costs = CostModel()
    costs.learn(group[:10], 10 * 0.004)
    sizes = [len(batch) for batch in cut(group, costs, 4)]
    assert sizes[0] == round(MAX_BATCH_SECONDS / 0.004)
    assert min(sizes[:-1]) == math.ceil(MIN_BATCH_SECONDS / 0.004)
    assert sizes[:-1] == sorted(sizes[:-1], reverse=True)


def test_cost_model_learns_shares_and_ignores_nonsense():
    costs, (one, other) = CostModel(), genomes(2)
    costs.learn([one], 0.1)
    costs.learn([one], 0.0)
    costs.learn([], 1.0)
    assert costs.estimate(one.family) == pytest.approx(0.1)
    costs.learn([one], 0.2)
    assert costs.estimate(one.family) == pytest.approx(0.13)
    assert costs.estimate(other.family) == 0.002


def test_probes_are_one_lawful_genome_a_family():
    found = probes(tuple(FAMILIES))
    assert [g.family for g in found] == list(FAMILIES)
    for genome in found:
        for gene, value in zip(FAMILIES[genome.family].genes, genome.genes, strict=True):
            assert value == gene.clip(value)
