"""Keys, digests and breeding in arrays equal those of one object after the other."""

from __future__ import annotations

import hashlib
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from evolution_gate.benchmarks.object_evolution import ObjectEvolution
from ga import hashing
from ga.evaluation.settings import Outcome, Settings, evaluation_keys
from ga.evolution import GENESIS, Evolution, Plan, advance_digest
from ga.families import FAMILIES
from ga.genome import Genome
from ga.population import Fitnesses, Population, hex_keys

SETTINGS = Settings()
NAMES = tuple(FAMILIES)
WIDTH = max(len(family.genes) for family in FAMILIES.values())
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@effort(deadline=None, max_examples=60)
@given(
    prefix=st.binary(max_size=200),
    rows=st.integers(0, 40),
    width=st.integers(0, 150),
    seed=st.integers(0, 1000),
)
def test_sha256_of_rows_equals_the_standard_library(prefix, rows, width, seed):
    messages = np.random.default_rng(seed).integers(0, 256, (rows, width), dtype=np.uint8)
    found = hashing.sha256_of_rows(prefix, messages)
    assert found.shape == (rows, 32)
    for row, message in zip(found, messages, strict=True):
        assert row.tobytes() == hashlib.sha256(prefix + message.tobytes()).digest()


@effort(deadline=None, max_examples=30)
@given(
    names=st.lists(st.sampled_from(NAMES), max_size=40),
    market=st.text("0123456789abcdef", max_size=80),
    seed=st.integers(0, 1000),
)
def test_keys_of_arrays_equal_those_of_objects(names, market, seed):
    dice = np.random.default_rng(seed)
    group = []
    for name in names:
        # Also beyond the bounds, of any size.
        count = len(FAMILIES[name].genes)
        genes = dice.standard_normal(count) * 10.0 ** dice.integers(-300, 300, count)
        group.append(Genome(name, tuple(genes.tolist())))
    population = Population.of(NAMES, group, WIDTH)
    assert list(population.genomes) == group
    keys = hex_keys(population.keys(market, SETTINGS))
    assert keys == evaluation_keys(group, market, SETTINGS)
    base = f"{market}\0{SETTINGS.hash}\0"
    for key, genome in zip(keys, group, strict=True):
        bits = b"".join(struct.pack("<d", gene) for gene in genome.genes)
        message = base.encode() + genome.family.encode() + b"\0" + bits
        assert key == hashlib.sha256(message).hexdigest()


@given(st.lists(st.tuples(st.binary(min_size=32, max_size=32), st.none() | FINITE), max_size=50))
def test_digest_of_arrays_covers_every_bit(results):
    outcomes = [Outcome(key=key.hex(), fitness=fitness) for key, fitness in results]
    sha = hashlib.sha256(bytes.fromhex(GENESIS))
    for key, fitness in results:
        sha.update(key + (b"failed" if fitness is None else struct.pack("<d", fitness)))
    assert advance_digest(GENESIS, outcomes) == sha.hexdigest()
    packed = np.frombuffer(b"".join(key for key, _ in results), np.uint8).reshape(-1, 32)
    assert Fitnesses.of(outcomes, packed).packed == Fitnesses.of(outcomes).packed


def test_wrong_number_of_results_is_refused():
    evolution = Evolution(Plan(seed=1, population_size=4, generations=2))
    with pytest.raises(ValueError, match="3 outcomes for 4 genomes"):
        evolution.tell([Outcome(key="00" * 32, fitness=1.0)] * 3)


@effort(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**63 - 1),
    size=st.integers(1, 300),
    generations=st.sampled_from([1, 2, 5, 500]),
    families=st.lists(st.sampled_from(NAMES), min_size=1, max_size=14, unique=True),
    kind=st.sampled_from(["coarse", "fine", "one family", "failures", "all fail"]),
    part=st.sampled_from([1, 7, 4096]),
)
def test_histories_of_arrays_and_objects_are_equal(seed, size, generations, families, kind, part):
    def fitness(genome: Genome) -> float | None:
        dice = random.Random(f"{seed} {genome}")
        if kind == "all fail" or (kind == "failures" and dice.random() < 0.7):
            return None
        if kind == "coarse":
            # Many are equal, and zero has both signs.
            return dice.choice([-1.0, -0.0, 0.0, 1.0])
        return dice.uniform(-1, 1) + 100.0 * (kind == "one family" and genome.family == families[0])

    plan = Plan(seed=seed, population_size=size, generations=generations, families=tuple(families))
    before, now = ObjectEvolution(plan), Evolution(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ga.evolution.PART", part)
        # At the beginning of a long run the quotas leave nearly no choice.
        for _ in range(min(generations, 5)):
            population = before.ask()
            assert now.ask() == population
            keys = evaluation_keys(population, "00", SETTINGS)
            outcomes = [
                Outcome(key=key, fitness=fitness(genome))
                for key, genome in zip(keys, population, strict=True)
            ]
            before.tell(outcomes)
            now.tell_arrays(Fitnesses.of(outcomes, now.population.keys("00", SETTINGS)))
            assert now.digest == before.digest
            for name in families:
                assert now.parents(name) == before.parents(name)
    assert now.done == before.done
