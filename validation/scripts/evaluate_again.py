"""Repeat evaluations with the engine, in a separate process: ``python -m
validation.scripts.evaluate_again``.

The harness has a CPU budget, so it loads neither the engine's kernels nor their compiler. One
request a line on stdin, one answer a line on stdout, until stdin ends.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache

from evolution_gate.fixtures.system.launch import spawn


def evaluate_again(
    market: str, settings: Mapping[str, object], genomes: Sequence[tuple[str, Sequence[float]]]
) -> list[tuple[str, float | None]]:
    """Evaluate genomes on the visible part of a market.

    Args:
        market: a value of ``--market``.
        settings: as stored in the ledger.
        genomes: family and genes.

    Returns:
        Key and fitness of each; None if it failed.

    Raises:
        RuntimeError: the engine failed.
    """
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    request = {"market": market, "settings": settings, "genomes": genomes}
    try:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        _process.cache_clear()
        raise RuntimeError(f"evaluations were not repeated: exit status {process.wait()}")
    answer = json.loads(line)
    if "error" in answer:
        raise RuntimeError(f"evaluations were not repeated: {answer['error']}")
    return [(str(key), fitness) for key, fitness in answer["found"]]


@cache
def _process() -> subprocess.Popen[str]:
    """One process for all requests. It loads the engine once, and ends when we close its input."""
    command = [sys.executable, "-m", __name__]
    # In a separate session: Ctrl-C must reach the harness only.
    process = spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and wait for it."""
    with suppress(BrokenPipeError):  # it has ended by itself
        process.communicate()


def main() -> None:
    """Answer requests."""
    from ga.backtest.simulation import Costs
    from ga.evaluation.evaluate import evaluate
    from ga.evaluation.folds import visible
    from ga.evaluation.settings import Settings
    from ga.genome import Genome
    from ga.sources import load_market

    for line in sys.stdin:
        request = json.loads(line)
        try:
            given = dict(request["settings"])
            settings = Settings(costs=Costs(**given.pop("costs")), **given)
            market = visible(load_market(request["market"]), settings)
            genomes = [Genome(family, tuple(genes)) for family, genes in request["genomes"]]
            found = [(one.key, one.fitness) for one in evaluate(market, settings, genomes)]
            answer: dict[str, object] = {"found": found}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
