"""One side of a comparison: times the kernels of the tree that is first on PYTHONPATH.

Run by path, so that it is this file whatever tree it measures; it uses only what has been there
since kernel version 5. Two numbers on stdin ask for a sample: it is taken in a fork, with so many
values more in memory, for where arrays happen to lie must not decide, and on that core. Then each
line asks for one round and is answered with JSON, family -> CPU seconds; an empty line ends the
sample.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

from ga.families import FAMILIES
from ga.fitness import Settings, evaluate, visible
from ga.genome import Genome
from ga.market import Market
from ga.sources import synthetic
from ga.variation import Purpose, keyed, scatter

BARS = 5_000
RULE_GENOMES = 40
LEARNED_GENOMES = 1
LEARNED_EVERY = 4


def main() -> None:
    """Serve until stdin ends."""
    market, settings = visible(synthetic(assets=1, bars=BARS, seed=1), Settings()), Settings()
    more = dict(pair.split("=") for pair in sys.argv[1:])
    work: dict[str, list[Genome]] = {}
    for name, family in FAMILIES.items():
        count = LEARNED_GENOMES if family.learned else RULE_GENOMES
        rows = scatter(family, keyed(1, Purpose.AUDIT, 0).random((count, len(family.genes))))
        genomes = [Genome(name, tuple(row)) for row in rows.tolist()]
        evaluate(market, settings, genomes)
        # A planted slowdown: some of the work is done twice.
        extra = round(float(more.get(name, 0.0)) * count)
        work[name] = genomes + genomes[:extra]
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            pad, core = line.split()
            os.sched_setaffinity(0, {int(core)})
            _serve(market, settings, work, int(pad))
        if os.waitpid(child, 0)[1]:
            sys.exit("a sample failed")


def _serve(market: Market, settings: Settings, work: dict[str, list[Genome]], pad: int) -> None:
    """One sample: a round for every line, until an empty one."""
    padding = np.ones(pad)
    print("ready", flush=True)
    number = 0
    while sys.stdin.readline().strip():
        times = {}
        for name, genomes in work.items():
            # The learned ones take as long as all others together.
            if number % LEARNED_EVERY and FAMILIES[name].learned:
                continue
            began = time.thread_time()
            evaluate(market, settings, genomes)
            times[name] = time.thread_time() - began
        number += 1
        print(json.dumps(times), flush=True)
    assert padding[-1] == 1.0
    print("done", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
