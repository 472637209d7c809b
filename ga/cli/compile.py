"""``python -m ga compile``: compile all kernels now, instead of at their first use."""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import closing
from typing import Final

from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.execution.pool import Pool
from ga.execution.protocol import warmup_genomes
from ga.families import FAMILIES
from ga.hashing import check
from ga.sources import synthetic

_BARS: Final = 2000
"""Number of bars that the learned families need."""
_PATIENCE: Final = 600.0


def compile_kernels() -> float:
    """Compile on all cores the kernels that the cache (``ga.backtest.jit``) lacks.

    Returns:
        The seconds that it took.

    Raises:
        RuntimeError: a kernel does not work here.
    """
    began = time.perf_counter()
    settings = Settings()
    market = visible(synthetic(assets=1, bars=_BARS, seed=0), settings)
    genomes, workers = warmup_genomes(tuple(FAMILIES)), os.cpu_count() or 1
    pool = Pool(market=market, settings=settings, workers=workers, patience=_PATIENCE)
    check()
    with closing(pool):
        for result in pool.run(genomes, [(index,) for index in range(len(genomes))]):
            for outcome in result.batch.outcomes:
                if outcome.error is not None:
                    raise RuntimeError(f"kernels do not work here: {outcome.error}")
    return time.perf_counter() - began


def command(options: argparse.Namespace) -> int:
    """The command."""
    seconds = compile_kernels()
    found = {"families": len(FAMILIES), "seconds": seconds}
    text = f"kernels of {len(FAMILIES)} families are compiled and cached ({seconds:.1f} s)"
    print(json.dumps(found) if options.json else text)
    return 0
