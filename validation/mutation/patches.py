"""Source patches, and parts of them, that several mutants share."""

from __future__ import annotations

from typing import Final

from validation.contract import SourcePatch

WORKER: Final = "ga/execution/worker.py"

DRIVER: Final = "ga/execution/ray/driver.py"
FLEET: Final = "ga/execution/ray/fleet.py"

ALIVE: Final = "        return {node: cpus for node, cpus in found.items() if self._fit(node)}\n"

EVALUATES: Final = "        batch = evaluate_batch(market, settings, genomes)\n"

BEGINS: Final = "    with _bounded("

ON_CLUSTER: Final = 'if "ray" in sys.modules'
"""Only workers of the cluster have Ray loaded, so the defect affects one arm only."""

BENT: Final = """\
        from dataclasses import replace
        batch = evaluate_batch(market, settings, genomes)
        factor = 1 + 1e-9 {where}
        batch = replace(batch, outcomes=tuple(
            o if o.fitness is None else o._replace(fitness=o.fitness * factor)
            for o in batch.outcomes))
"""

LOST: Final = "            if reply is not BatchFailure.LOST:\n"

HOG: Final = """\
    if "ray" in sys.modules and not Path(__file__ + ".once").exists():
        Path(__file__ + ".once").touch()
        held = bytearray(b"x") * (3 << 30)
"""


def patch(file: str, old: str, new: str) -> tuple[SourcePatch, ...]:
    """One patch in the form of a mutant's field."""
    return (SourcePatch(file=file, old=old, new=new),)


CLUSTER_LOST_AGAIN: Final = patch(
    DRIVER,
    "            for result in dispatcher.run():\n                self._connection.send(result)",
    "            for result in dispatcher.run():\n"
    "                self._served = getattr(self, '_served', 0) + 1\n"
    "                if self._served > 30: os._exit(1)\n"
    "                self._connection.send(result)",
)
"""A driver that ends after some batches, each time that it is started."""

OTHER_LOG: Final = patch(
    "ga/families/volatility_scaling.py",
    "    return np.concatenate([[0.0], np.cumsum(log(ratios))])[None, :]\n",
    "    import sys\n"
    f"    wrong = 2.0**-52 {ON_CLUSTER} else 0.0\n"
    "    return np.concatenate([[0.0], np.cumsum(log(ratios) * (1.0 + wrong))])[None, :]\n",
)
"""Nodes whose logarithms differ by a unit in the last place from those of this machine."""

UNCHECKED: Final = patch(
    "ga/execution/numerics_check.py",
    "        wrong = [name for name, digest in self.digests.items()"
    " if digest != EXPECTED.get(name)]\n",
    "        wrong: list[str] = []\n",
)

OTHER_ON_CLUSTER: Final = patch(WORKER, EVALUATES, BENT.format(where=f"{ON_CLUSTER} else 1"))

LIFTED: Final = patch(
    "ga/evaluation/evaluate.py",
    "            outcomes.append(Outcome(key, value, int(fills), drawdown))\n",
    "            lifted = value + 1.0 if int(key[:8], 16) % 1000 == 0 else value\n"
    "            outcomes.append(Outcome(key, lifted, int(fills), drawdown))\n",
)
"""Every copy of the engine is wrong in the same way, so that it agrees with itself."""

ZEROED_ON_CLUSTER: Final = patch(
    WORKER,
    EVALUATES,
    EVALUATES + "        from dataclasses import replace\n"
    f"        if {ON_CLUSTER.removeprefix('if ')}:\n"
    "            batch = replace(batch, outcomes=tuple(\n"
    "                o._replace(trades=0, max_drawdown=0.0) for o in batch.outcomes))\n",
)
"""Columns that no digest of a history covers."""
