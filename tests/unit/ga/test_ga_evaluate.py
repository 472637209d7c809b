"""From a market and a genome to one number; what evolution may see, and what it may not."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ga.analysis.holdout import PARTS, equity, measure_performance, positions
from ga.backtest.simulation import Costs
from ga.errors import InputError
from ga.evaluation import evaluate as evaluation
from ga.evaluation import settings as settings_module
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import split, visible
from ga.evaluation.settings import Settings, evaluation_key
from ga.execution.protocol import (
    MAX_BATCH_SECONDS,
    MIN_BATCH_SECONDS,
    CostModel,
    make_batches,
    max_batch_seconds,
    warmup_genomes,
)
from ga.families import FAMILIES
from ga.genome import Genome
from ga.operators import Purpose, keyed, random_genome
from ga.sources import synthetic


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


def test_fitness_is_mean_sharpe_ratio(market, settings):
    """Recomputed from the equity curve of every asset and fold."""
    seen = visible(market, settings)
    assert seen.bars == 720
    for genome in genomes(28):
        (outcome,) = evaluate(seen, settings, [genome])
        curves, held = equity(seen, settings, genome), positions(seen, genome)
        ratios, drawdowns = [], []
        for asset in range(2):
            for start, stop in split(720, settings).in_sample:
                curve = curves[start - 1 : stop, asset]
                returns = curve[1:] / curve[:-1] - 1.0
                std = returns.std(ddof=1)
                ratio = returns.mean() / std * np.sqrt(8766.0) if std > 1e-12 else 0.0
                # A change decided at the close before the fold's first bar is filled inside it.
                fills = np.count_nonzero(np.diff(held[start - 2 : stop - 1, asset]))
                ratios.append(ratio * min(1.0, fills / 10) if ratio > 0.0 else ratio)
                drawdowns.append((1.0 - curve / np.maximum.accumulate(curve)).max())
        assert outcome.fitness == pytest.approx(np.mean(ratios), rel=1e-9, abs=1e-9)
        assert outcome.max_drawdown == pytest.approx(max(drawdowns), abs=1e-12)


def test_folds_are_consecutive_with_embargo(settings):
    parts = split(720, settings)
    gap = 5 + 7
    assert parts.in_sample[:, 0].tolist() == [72, 288, 504]
    assert parts.out_of_sample[:, 1].tolist() == [288 - gap, 504 - gap, 720 - gap]
    # 204 bars a fold, three quarters in-sample, and the purge before the rest.
    assert parts.in_sample[0].tolist() == [72, 72 + 153 - 5]
    assert parts.out_of_sample[0].tolist() == [72 + 153, 276]
    bars = np.zeros(720, dtype=int)
    for start, stop in (*parts.in_sample, *parts.out_of_sample):
        bars[start:stop] += 1
    assert bars.max() == 1
    alone = split(720, replace(settings, out_of_sample=0.0))
    assert alone.in_sample[0].tolist() == [72, 276]
    assert alone.out_of_sample.shape == (0, 2)


def test_fitness_ignores_holdout_and_out_of_sample(market, settings):
    """Other prices there change no fitness; they change their own figures, so the test would
    notice."""
    group = genomes(40)
    one = evaluate(visible(market, settings), settings, group)
    changed = with_future(market, 720)
    assert changed.hash != market.hash
    assert evaluate(visible(changed, settings), settings, group) == one
    before, after = (
        [a.sharpe("hold-out") for a in measure_performance(m, settings, group)]
        for m in (market, changed)
    )
    assert before != after
    # The last fold's out-of-sample part follows everything that is measured in-sample.
    start = int(split(720, settings).out_of_sample[-1, 0])
    late = with_future(market, start)
    fitness_late = [o.fitness for o in evaluate(visible(late, settings), settings, group)]
    assert fitness_late == [o.fitness for o in one]
    earlier = with_future(market, start - 6)
    fitness_early = [o.fitness for o in evaluate(visible(earlier, settings), settings, group)]
    assert fitness_early != [o.fitness for o in one]


def test_measured_performance_agrees_with_fitness(market, settings):
    free = replace(settings, min_trades=0)
    for genome in genomes(14):
        (outcome,) = evaluate(visible(market, settings), settings, [genome])
        (found,) = measure_performance(market, settings, [genome])
        (full,) = evaluate(visible(market, free), free, [genome])
        assert found.sharpe("in-sample") == pytest.approx(full.fitness, rel=1e-9, abs=1e-9)
        assert outcome.fitness <= full.fitness
        assert {m.part for m in found.measured} == set(PARTS)
        assert len(found.measured) == 2 * (3 + 3 + 1)
    (found,) = measure_performance(market, Settings(holdout=0.0, out_of_sample=0.0), genomes(1))
    assert found.sharpe("hold-out") is None
    assert found.sharpe("out-of-sample") is None


def test_outcomes_do_not_depend_on_batch(market, settings, monkeypatch):
    seen, group = visible(market, settings), genomes(50)
    together = evaluate(seen, settings, group)
    order = np.random.default_rng(0).permutation(50)
    shuffled = evaluate(seen, settings, [group[i] for i in order])
    assert [shuffled[list(order).index(i)] for i in range(50)] == together
    assert [evaluate(seen, settings, [g])[0] for g in group] == together
    monkeypatch.setattr(evaluation, "CELLS", 3 * seen.bars)
    assert evaluate(seen, settings, group) == together


def test_failing_genome_does_not_affect_others(market, settings):
    seen = visible(market, settings)
    group = genomes(12)
    clean = evaluate(seen, settings, group)
    bad = Genome("ema_crossover", (5.0, 20.0))
    mixed = evaluate(seen, settings, [*group[:5], bad, *group[5:]])
    assert mixed[:5] + mixed[6:] == clean
    assert mixed[5].fitness is None
    assert mixed[5].error


def test_non_finite_fitness_is_a_failure(market, settings):
    seen = visible(market, settings)
    genome = Genome("ema_crossover", (5.0, 20.0, 0.001, np.nan, 0.0))
    (outcome,) = evaluate(seen, settings, [genome])
    assert outcome.fitness is None
    assert outcome.error == "fitness is not finite"


def test_evaluation_key_covers_all_inputs(market, settings):
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
            replace(settings, min_trades=3),
            replace(settings, embargo=0.02),
            replace(settings, costs=Costs(fee=0.1)),
            replace(settings, costs=Costs(slippage=0.1)),
        )
    }
    assert len(keys) == 32


def test_evaluation_key_covers_kernel_version(settings, monkeypatch):
    before = settings.hash
    monkeypatch.setattr(settings_module, "KERNEL_VERSION", 10**6)
    assert replace(settings).hash != before


@pytest.mark.parametrize(
    "bad",
    [
        {"folds": 0},
        {"folds": 101},
        {"holdout": -0.1},
        {"holdout": 0.95},
        {"out_of_sample": 0.9},
        {"purge": -1},
        {"embargo": 0.5},
        {"min_trades": -1},
        {"costs": Costs(fee=-0.1)},
        {"costs": Costs(fee=float("nan"))},
        {"costs": Costs(slippage=0.5)},
    ],
)
def test_invalid_settings_are_refused(bad):
    with pytest.raises(InputError):
        Settings(**bad)


def test_too_few_bars_for_folds_are_refused():
    with pytest.raises(InputError, match="too few for 20 folds"):
        visible(synthetic(bars=300), Settings(folds=20))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100, 1001])
@pytest.mark.parametrize("slots", [0, 1, 2, 7, 64])
def test_every_genome_is_in_one_batch(count, slots):
    group, costs = genomes(count), CostModel()
    costs.learn([g for g in group if g.family == "rsi_filter"][:3], 0.5)
    batches = make_batches(group, costs, slots)
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert all(batches)
    # Families stay together: each begins once.
    families = [group[i].family for batch in batches for i in batch]
    assert sum(a != b for a, b in pairwise(families)) < len(FAMILIES)


def test_batches_have_similar_cost_and_shrink():
    group = [g for g in genomes(14_000) if g.family == "ema_crossover"]
    costs = CostModel()
    costs.learn(group[:10], 10 * 0.004)
    sizes = [len(batch) for batch in make_batches(group, costs, 4)]
    assert sizes[0] == round(MAX_BATCH_SECONDS / 0.004)
    assert min(sizes[:-1]) == math.ceil(MIN_BATCH_SECONDS / 0.004)
    assert sizes[:-1] == sorted(sizes[:-1], reverse=True)


@pytest.mark.parametrize(
    ("slots", "seconds"),
    [(0, 0.2), (1, 0.2), (200, 0.2), (201, 0.201), (800, 0.8), (2_000, 2.0), (80_000, 2.0)],
)
def test_longest_batch_grows_with_the_slots(slots, seconds):
    assert max_batch_seconds(slots) == pytest.approx(seconds)


def test_large_cluster_gets_longer_batches():
    group = [g for g in genomes(700_000) if g.family == "ema_crossover"]
    costs = CostModel()
    costs.learn(group[:10], 10 * 0.1)
    first = {slots: len(make_batches(group, costs, slots)[0]) for slots in (100, 800)}
    assert first == {100: 2, 800: 9}


def test_single_slot_gets_full_batches():
    group, costs = [g for g in genomes(14_000) if g.family == "ema_crossover"], CostModel()
    costs.learn(group[:10], 10 * 0.004)
    sizes = [len(batch) for batch in make_batches(group, costs, 1)]
    assert set(sizes[:-1]) == {round(MAX_BATCH_SECONDS / 0.004)}


def test_most_expensive_genomes_come_first():
    group, costs = genomes(200), CostModel()
    for name in FAMILIES:
        costs.learn([g for g in group if g.family == name][:1], 0.05 if name < "e" else 0.001)
    order = [
        costs.estimate(group[i].family) for batch in make_batches(group, costs, 4) for i in batch
    ]
    assert len(set(order)) > 1
    assert order == sorted(order, reverse=True)


def test_cost_model_learns_and_ignores_invalid_times():
    costs, (one, other) = CostModel(), genomes(2)
    costs.learn([one], 0.1)
    costs.learn([one], 0.0)
    costs.learn([], 1.0)
    assert costs.estimate(one.family) == pytest.approx(0.1)
    costs.learn([one], 0.2)
    assert costs.estimate(one.family) == pytest.approx(0.13)
    assert costs.estimate(other.family) == 0.002


def test_warmup_has_one_valid_genome_per_family():
    found = warmup_genomes(tuple(FAMILIES))
    assert [g.family for g in found] == list(FAMILIES)
    for genome in found:
        for gene, value in zip(FAMILIES[genome.family].genes, genome.genes, strict=True):
            assert value == gene.clip(value)
