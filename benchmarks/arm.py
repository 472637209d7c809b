"""One side of a comparison: times the kernels of the tree that is first on PYTHONPATH.

It is run by path, so that the same file measures both trees, and uses only functions that exist
since kernel version 5. Two numbers on stdin request a sample: the padding and the core. The sample
is taken in a fork on that core, with that many additional values in memory, so that the addresses
of arrays do not bias the result. Then each line requests a round, and the answer is JSON: family ->
CPU seconds of the fastest of a few consecutive repetitions. The first repetition finds the other
side's data in the processor caches. An empty line ends the sample. ``FAMILY=SHARE`` makes a family
slower by that share of its time.
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.families import FAMILIES
from ga.genome import Genome
from ga.market import Market
from ga.operators import Purpose, keyed, scatter
from ga.sources import synthetic

BARS = 5_000
RULE_GENOMES = 40
LEARNED_GENOMES = 1
LEARNED_EVERY = 4
TRIES = 4


def main() -> None:
    """Serve until stdin ends."""
    market, settings = visible(synthetic(assets=1, bars=BARS, seed=1), Settings()), Settings()
    options = dict(pair.split("=") for pair in sys.argv[1:])
    only = options.pop("--families", "").split(",")
    slower = {name: float(share) for name, share in options.items()}
    work: dict[str, list[Genome]] = {}
    for name, family in FAMILIES.items():
        if only != [""] and name not in only:
            continue
        count = LEARNED_GENOMES if family.learned else RULE_GENOMES
        rows = scatter(family, keyed(1, Purpose.AUDIT, 0).random((count, len(family.genes))))
        genomes = [Genome(name, tuple(row)) for row in rows.tolist()]
        evaluate(market, settings, genomes)
        work[name] = genomes
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            pad, core = line.split()
            os.sched_setaffinity(0, {int(core)})
            _serve(market, settings, work, slower, int(pad))
        if os.waitpid(child, 0)[1]:
            sys.exit("a sample failed")


def _serve(
    market: Market,
    settings: Settings,
    work: dict[str, list[Genome]],
    slower: dict[str, float],
    pad: int,
) -> None:
    """Take one sample: a round for every line, until an empty one."""
    padding = np.ones(pad)
    print("ready", flush=True)
    number = 0
    while sys.stdin.readline().strip():
        times = {}
        for name, genomes in work.items():
            # The learned families take as long as all others together.
            if number % LEARNED_EVERY and FAMILIES[name].learned:
                continue
            tries = (_time(market, settings, genomes, slower.get(name, 0.0)) for _ in range(TRIES))
            times[name] = min(tries)
        number += 1
        print(json.dumps(times), flush=True)
    assert padding[-1] == 1.0
    print("done", flush=True)
    os._exit(0)


def _time(market: Market, settings: Settings, genomes: list[Genome], slower: float) -> float:
    """CPU seconds of one repetition. A planted slowdown is added as time: additional genomes would
    not take proportionally longer, because lanes are padded and indicators shared.
    """
    began = time.thread_time()
    evaluate(market, settings, genomes)
    until = (time.thread_time() - began) * (1.0 + slower)
    while slower and time.thread_time() - began < until:
        pass
    return time.thread_time() - began


if __name__ == "__main__":
    main()
