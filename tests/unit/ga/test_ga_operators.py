"""Variation and selection: bounds, keys, and formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ga.families import FAMILIES, get_family
from ga.operators import (
    Purpose,
    crossover,
    difference,
    genomes,
    keyed,
    mutate,
    mutation_scales,
    scatter,
    tournament,
)
from tests.support.lawful_genomes import lawful


@settings(max_examples=150)
@given(
    name=st.sampled_from(list(FAMILIES)),
    seed=st.integers(0, 2**63 - 1),
    steps=st.integers(1, 30),
    scale=st.floats(0.0, 3.0),
)
def test_operators_keep_genes_within_bounds(name, seed, steps, scale):
    rng, family = keyed(seed, Purpose.AUDIT, 0), get_family(name)
    shape = (4, len(family.genes))
    one, other = scatter(family, rng.random(shape)), scatter(family, rng.random(shape))
    for _ in range(steps):
        one = crossover(one, other, rng.random(shape), rng.random(4))
        one = mutate(family, one, rng.random(shape), rng.normal(shape), scale)
        assert all(lawful(g) for g in genomes(family, one))
        apart, draws = (one, other), (rng.random(4), rng.random(4))
        one = difference(family, one, other, apart, rng.random(shape), rng.random(shape), draws)
        assert all(lawful(g) for g in genomes(family, one))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_random_genomes_cover_the_bounds(name):
    family = get_family(name)
    draws = scatter(family, keyed(1, Purpose.AUDIT, 0).random((3000, len(family.genes))))
    for gene, column in zip(family.genes, draws.T, strict=True):
        if gene.integer and gene.high - gene.low < 100:
            assert set(column) == set(range(int(gene.low), int(gene.high) + 1))
        else:
            quarters = np.histogram(column, 4, (gene.low, gene.high))[0]
            assert quarters.min() > 600


@pytest.mark.parametrize("name", list(FAMILIES))
def test_mutation_changes_some_genes_in_both_directions(name):
    family = get_family(name)
    rng, shape = keyed(2, Purpose.AUDIT, 0), (3000, len(family.genes))
    middle = np.array([[g.clip((g.low + g.high) / 2) for g in family.genes]] * 3000)
    moved = mutate(family, middle, rng.random(shape), rng.normal(shape), 0.15)
    change = np.sign(moved - middle)
    assert (change != 0).any(axis=1).all()
    for column in change.T:
        # A chance of 0.7 each, and one gene where none was chosen; up as often as down.
        assert 0.67 < np.mean(column != 0) < 0.75
        assert 0.4 < np.mean(column[column != 0] > 0) < 0.6


def test_crossover_takes_genes_from_parents_only():
    rng = keyed(3, Purpose.AUDIT, 0)
    one = np.array([[10.0, 25.0, 60.0, 0.0, 0.0]] * 400)
    other = np.array([[20.0, 40.0, 80.0, 1.0, 1.0]] * 400)
    children = crossover(one, other, rng.random((400, 5)), np.zeros(400))
    first = children == one
    assert (first | (children == other)).all()
    assert (np.abs(first.mean(axis=0) - 0.5) < 0.1).all()
    assert len({tuple(c) for c in children.tolist()}) == 32
    assert (crossover(one, other, rng.random((400, 5)), np.ones(400)) == one).all()


def test_mutation_steps_are_small_and_large():
    sizes = mutation_scales(np.array([0.0, 1 / 3, 2 / 3, 1.0]))
    assert sizes.shape == (4, 1)
    assert sizes[:, 0] == pytest.approx([0.1, 0.2, 0.4, 0.8])


def test_keyed_streams_are_independent():
    places = [
        (seed, purpose, generation, index)
        for seed in (0, 1, 2**63 - 1)
        for purpose in Purpose
        for generation in (0, 1, 70_000)
        for index in (0, 1, 2**40)
    ]
    forward = {place: keyed(*place).random(5).tobytes() for place in places}
    backward = {place: keyed(*place).random(5).tobytes() for place in reversed(places)}
    assert forward == backward
    assert len(set(forward.values())) == len(places)
    # A long stream does not run into its neighbour's.
    long = keyed(0, Purpose.BREED, 0, 0).random(10_000)
    near = keyed(0, Purpose.BREED, 0, 1).random(10_000)
    assert not set(long) & set(near)


def test_difference_adds_to_base_some_genes():
    """Written out gene by gene from the formula."""
    family = get_family("rsi_filter")
    rng, shape = keyed(4, Purpose.AUDIT, 0), (500, len(family.genes))
    target, base, first, second = (scatter(family, rng.random(shape)) for _ in range(4))
    choice, rounding, draws = rng.random(shape), rng.random(shape), (rng.random(500),) * 2
    made = difference(family, target, base, (first, second), choice, rounding, draws)
    for row in range(500):
        factor, rate = 0.4 + 0.6 * draws[0][row], 0.3 if draws[1][row] < 0.5 else 0.9
        for at, gene in enumerate(family.genes):
            expected = target[row, at]
            if choice[row, at] < rate or choice[row, at] == choice[row].min():
                value = base[row, at] + factor * (first[row, at] - second[row, at])
                value = gene.low + abs(value - gene.low)
                value = max(gene.high - abs(gene.high - value), gene.low)
                expected = math.floor(value + rounding[row, at]) if gene.integer else value
            assert made[row, at] == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_tournament_selects_best_of_picked():
    wins = tournament(3, keyed(1, Purpose.AUDIT, 0).random((6000, 3)))
    # Best of three picks out of three: 19/27, then 7/27, then 1/27.
    for member, chance in ((0, 19 / 27), (1, 7 / 27), (2, 1 / 27)):
        assert np.mean(wins == member) == pytest.approx(chance, abs=0.02)
