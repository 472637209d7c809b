"""``python -m ga compile``: all kernels now, instead of at their first use."""

from __future__ import annotations

import argparse
import json
import time

from ga.evaluators.base import probes
from ga.families import FAMILIES
from ga.fitness import Settings, evaluate, visible
from ga.sources import synthetic

_BARS = 2000
"""As many as the learned families need."""


def compile_kernels() -> float:
    """Compile what the cache (``ga.jit``) does not have; returns the seconds it took.

    Raises:
        RuntimeError: a kernel does not work here.
    """
    began = time.perf_counter()
    settings = Settings()
    market = visible(synthetic(assets=1, bars=_BARS, seed=0), settings)
    for outcome in evaluate(market, settings, probes(tuple(FAMILIES))):
        if outcome.error is not None:
            raise RuntimeError(f"kernels do not work here: {outcome.error}")
    return time.perf_counter() - began


def command(options: argparse.Namespace) -> int:
    """The command."""
    seconds = compile_kernels()
    found = {"families": len(FAMILIES), "seconds": seconds}
    text = f"kernels of {len(FAMILIES)} families are compiled and kept ({seconds:.1f} s)"
    print(json.dumps(found) if options.json else text)
    return 0
