"""The search compared with others at equal evaluations: random search, DEAP's standard GA, Optuna's
TPE.

All search the same space (family and genes) for the same fitness on the same markets, with the same
number of different genomes evaluated, over several seeds. The score is the best fitness found.
Rule families only: the comparison is of searches, and learned families would take hours.
"""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from math import ceil
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from evolution_gate.benchmarks.samples import Effort
from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.evolution import Evolution, Plan
from ga.families import FAMILIES, get_family, usable_families
from ga.genome import Genome
from ga.market import Market
from ga.operators import Purpose, genomes, keyed, scatter
from ga.sources import load_market

pytestmark = pytest.mark.filterwarnings("ignore")

POPULATION = 60
SETTINGS = Settings()


class Objective:
    """Fitness of genomes, each evaluated once; the best so far after every evaluation."""

    def __init__(self, market: Market, budget: int) -> None:
        self.market, self.budget = market, budget
        self.known: dict[Genome, float] = {}
        self.best = -np.inf

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return len(self.known) >= self.budget

    def __call__(self, group: Sequence[Genome]) -> list[float]:
        """Their fitnesses; what the budget does not hold is not evaluated."""
        fresh = list(dict.fromkeys(g for g in group if g not in self.known))
        fresh = fresh[: self.budget - len(self.known)]
        for genome, outcome in zip(fresh, evaluate(self.market, SETTINGS, fresh), strict=True):
            value = -1e9 if outcome.fitness is None else outcome.fitness
            self.known[genome] = value
            self.best = max(self.best, value)
        return [self.known.get(g, -1e9) for g in group]


def ours(objective: Objective, families: tuple[str, ...], seed: int) -> None:
    """This engine."""
    # A child may be a known genome, so run one generation more than budget / size.
    generations = ceil(objective.budget / POPULATION) + 1
    plan = Plan(seed=seed, population_size=POPULATION, generations=generations, families=families)
    evolution = Evolution(plan)
    while not objective.spent and not evolution.done:
        group = evolution.ask()
        objective(group)
        evolution.tell(evaluate(objective.market, SETTINGS, group))


def at_random(objective: Objective, families: tuple[str, ...], seed: int) -> None:
    """Uniform draws, families in equal numbers."""
    rng = keyed(seed, Purpose.AUDIT, 7)
    while not objective.spent:
        name = families[int(rng.random(1)[0] * len(families))]
        family = get_family(name)
        objective(genomes(family, scatter(family, rng.random((1, len(family.genes))))))


def _decode(families: tuple[str, ...], unit: Sequence[float]) -> Genome:
    """A genome from numbers in 0..1: the first chooses the family, the others its genes."""
    family = get_family(families[min(int(unit[0] * len(families)), len(families) - 1)])
    genes = np.clip(np.array([unit[1 : 1 + len(family.genes)]]), 0.0, np.nextafter(1.0, 0.0))
    return genomes(family, scatter(family, genes))[0]


def with_deap(objective: Objective, families: tuple[str, ...], seed: int) -> None:
    """DEAP's eaSimple: two-point crossover, Gaussian mutation, tournaments of three."""
    from deap import base, creator, tools

    width = 1 + max(len(FAMILIES[name].genes) for name in families)
    random.seed(seed)
    if not hasattr(creator, "Unit"):
        creator.create("Best", base.Fitness, weights=(1.0,))
        creator.create("Unit", list, fitness=creator.Best)
    box = base.Toolbox()
    box.register("one", tools.initRepeat, creator.Unit, random.random, width)
    population: list[Any] = [box.one() for _ in range(POPULATION)]

    def score(group: list[Any]) -> None:
        values = objective([_decode(families, unit) for unit in group])
        for unit, value in zip(group, values, strict=True):
            unit.fitness.values = (value,)

    score(population)
    for _ in range(4 * objective.budget // POPULATION):
        if objective.spent:
            return
        children = [box.clone(i) for i in tools.selTournament(population, POPULATION, 3)]
        for first, second in zip(children[::2], children[1::2], strict=True):
            if random.random() < 0.5:
                tools.cxTwoPoint(first, second)
        for child in children:
            if random.random() < 0.2:
                tools.mutGaussian(child, mu=0.0, sigma=0.2, indpb=0.2)
                child[:] = [min(max(v, 0.0), 1.0) for v in child]
        score(children)
        population = children


def with_optuna(objective: Objective, families: tuple[str, ...], seed: int) -> None:
    """Optuna's TPE with its defaults, the families as branches."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("optuna").setLevel(logging.ERROR)

    def trial_value(trial: Any) -> float:
        name = trial.suggest_categorical("family", families)
        values = []
        for gene in FAMILIES[name].genes:
            label = f"{name}.{gene.name}"
            if gene.integer:
                values.append(float(trial.suggest_int(label, int(gene.low), int(gene.high))))
            else:
                values.append(float(trial.suggest_float(label, gene.low, gene.high)))
        return objective([Genome(name, tuple(values))])[0]

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    while not objective.spent:
        study.optimize(trial_value, n_trials=1)


SEARCHES: dict[str, Callable[[Objective, tuple[str, ...], int], None]] = {
    "this engine": ours,
    "random search": at_random,
    "DEAP eaSimple": with_deap,
    "Optuna TPE": with_optuna,
}


def best_found(spec: str, search: str, seed: int, budget: int) -> float:
    """The best fitness that a search finds on a market."""
    market = visible(load_market(spec), SETTINGS)
    rules = [n for n, f in FAMILIES.items() if not f.learned and not f.needs_funding]
    families, _ = usable_families(market, rules)
    objective = Objective(market, budget)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SEARCHES[search](objective, families, seed)
    return float(objective.best)


@pytest.mark.parametrize("spec", ["eurusd", "goog"])
@pytest.mark.parametrize("search", list(SEARCHES))
def test_search(benchmark: Any, effort: Effort, spec: str, search: str) -> None:
    """Best in-sample fitness over seeds 0, 1, ... at equal evaluations."""
    seeds, budget = range(effort.search_seeds), effort.search_budget
    # Only the results are compared, not the speed, so seeds run in parallel.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = list(pool.map(best_found, repeat(spec), repeat(search), seeds, repeat(budget)))
    benchmark.pedantic(lambda: None, rounds=1)
    benchmark.extra_info.update(
        suite="search",
        label=f"{spec}: {search}",
        unit="best fitness",
        samples=found,
        note=f"{budget} evaluations, {len(seeds)} seeds",
    )
