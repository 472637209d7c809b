"""Read the ledger of a run, and tabulate the fitness of each generation.

    python examples/read_ledger.py [STORE RUN]

Without arguments the script evolves a small run into a temporary ledger first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from ga.ledger import open_ledger


def evolve(store: str) -> str:
    """Evolve a small run; its id."""
    command = [sys.executable, "-m", "ga", "evolve", "--market", "synthetic:bars=2000,seed=1"]
    command += ["--families", "ema_crossover,rsi_filter", "--population-size", "60"]
    command += ["--generations", "8", "--seed", "7", "--mode", "local", "--workers", "1"]
    argv = [*command, "--store", store, "--json"]
    done = subprocess.run(argv, capture_output=True, check=True)
    return str(json.loads(done.stdout)["run"])


def tabulate(store: str, run: str) -> None:
    """Print a row for each generation: best and median fitness, failures, median as a bar."""
    with closing(open_ledger(store, create=False)) as ledger:
        record = ledger.run(run)
        print(f"run {record.run}: {record.market.spec}, {record.committed} generations")
        print(f"{'generation':>10} {'best':>8} {'median':>8} {'failed':>6}")
        for generation in range(record.committed):
            individuals = ledger.individuals(record.run, generation)
            fitness = [o.fitness for _, o in individuals if o.fitness is not None]
            best, median = max(fitness, default=0.0), statistics.median(fitness or [0.0])
            failed = len(individuals) - len(fitness)
            bar = "#" * round(40 * max(median, 0.0) / best) if best > 0 else ""
            print(f"{generation + 1:>10} {best:>8.3f} {median:>8.3f} {failed:>6} {bar}")


def main() -> None:
    """Tabulate a run of the named ledger, or of one that is made here."""
    if len(sys.argv) == 3:
        tabulate(sys.argv[1], sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{Path(folder) / 'ledger.db'}"
        tabulate(store, evolve(store))


if __name__ == "__main__":
    main()
