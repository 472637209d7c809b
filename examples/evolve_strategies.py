"""Evolve strategies on a synthetic market with the Python API, and print the best ones.

    python examples/evolve_strategies.py

Nothing is stored. ``python -m ga evolve`` does the same with workers, a ledger and a hold-out.
"""

from __future__ import annotations

from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Outcome, Settings
from ga.evolution import Evolution, Plan
from ga.families import get_family
from ga.genome import Genome
from ga.sources import load_market

FAMILIES = ("ema_crossover", "rsi_filter", "bollinger_bands")


def main() -> None:
    """Evolve, and print the best strategy of each family."""
    settings = Settings()
    # The last 20 % of the bars are the hold-out: evolution never sees them.
    market = visible(load_market("synthetic:assets=2,bars=2000,seed=1"), settings)
    evolution = Evolution(Plan(seed=7, population_size=60, generations=6, families=FAMILIES))
    found: dict[str, tuple[Outcome, Genome]] = {}
    while not evolution.done:
        genomes = evolution.ask()
        outcomes = evaluate(market, settings, genomes)
        for outcome, genome in zip(outcomes, genomes, strict=True):
            found[outcome.key] = outcome, genome
        evolution.tell(outcomes)
        best = max(outcome.fitness for outcome, _ in found.values() if outcome.fitness is not None)
        print(f"generation {evolution.generation}: best fitness so far {best:.3f}")

    def fitness(pair: tuple[Outcome, Genome]) -> float:
        # A failed evaluation has no fitness. It comes last.
        return float("-inf") if pair[0].fitness is None else pair[0].fitness

    for outcome, genome in sorted(found.values(), key=fitness, reverse=True)[:3]:
        names = [gene.name for gene in get_family(genome.family).genes]
        genes = ", ".join(f"{n} {v:.4g}" for n, v in zip(names, genome.genes, strict=True))
        print(f"{outcome.key[:10]} {outcome.fitness:.3f} {genome.family}: {genes}")
    print(f"history digest {evolution.digest}")


if __name__ == "__main__":
    main()
