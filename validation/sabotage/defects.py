"""The planted defects as data: what is broken, how, and which criterion must notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Stage = Literal[
    "bad input",
    "reference",
    "backup",
    "recovery",
    "speedup",
    "watch",
    "panels",
    "alert",
    "soak",
    "network",
    "exposure",
    "preemption",
    "population",
    "autoscaling",
    "service",
    "rollback",
]
Harm = Literal[
    "nodes stay away",
    "exporter killed",
    "dashboard killed",
    "alerts stopped",
    "prometheus stopped",
    "node restarted",
    "outages",
    "slow link",
    "open socket",
]

_WORKER: Final = "ga/evaluators/worker.py"
_EVALUATES: Final = "        return evaluate_batch(market, settings, genomes)\n"
_BEGINS: Final = "    with _bounded("
_ON_CLUSTER: Final = 'if "ray" in sys.modules'
"""Only workers of the cluster have Ray loaded: so one arm is broken and the other is not."""
_BENT: Final = """\
        from dataclasses import replace
        batch = evaluate_batch(market, settings, genomes)
        factor = 1 + 1e-9 {where}
        return replace(batch, outcomes=tuple(
            o if o.fitness is None else o._replace(fitness=o.fitness * factor)
            for o in batch.outcomes))
"""
_HOG: Final = """\
    if "ray" in sys.modules and not Path(__file__ + ".once").exists():
        Path(__file__ + ".once").touch()
        held = bytearray(b"x") * (3 << 30)
"""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change of the copied code."""

    file: str
    old: str
    """Must be there exactly once."""
    new: str


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One planted defect."""

    name: str
    criterion: str
    needs: tuple[Stage, ...]
    """What is run to find it."""
    edit: Edit | None = None
    harm: Harm | None = None
    """What is done to the stack instead of to the code."""


def _edit(file: str, old: str, new: str) -> Edit:
    return Edit(file=file, old=old, new=new)


DEFECTS: Final[tuple[Defect, ...]] = (
    # Two days of outages cannot be planted in an afternoon: of this one alone the cluster and its
    # clock are simulated, and its verdict says so.
    Defect(
        name="four minutes without a cluster, every two hours (simulated)",
        criterion="uptime",
        needs=("soak",),
        harm="outages",
    ),
    Defect(
        name="dropped write",
        criterion="no_data_loss",
        needs=("reference",),
        edit=_edit(
            "ga/ledger/store.py",
            "insert(connection, individuals, members)",
            "insert(connection, individuals, members[:-1])",
        ),
    ),
    Defect(
        name="altered results",
        criterion="no_data_loss",
        needs=("reference",),
        edit=_edit(_WORKER, _EVALUATES, _BENT.format(where="")),
    ),
    Defect(
        name="missing rows in a backup",
        criterion="backup_restore",
        needs=("backup",),
        edit=_edit(
            "ga/ledger/backup.py",
            "                for row in stream:\n",
            "                for row in stream:\n"
            '                    if name == "individuals" and row.index == 7:\n'
            "                        continue\n",
        ),
    ),
    Defect(
        name="swallowed bad input",
        criterion="bad_input",
        needs=("bad input",),
        edit=_edit(
            "ga/evolution.py",
            "        if not 1 <= self.generations <= 1_000_000:",
            "        if self.generations > 1_000_000:",
        ),
    ),
    Defect(
        name="another result on the cluster",
        criterion="reproducibility",
        needs=("reference", "recovery"),
        edit=_edit(_WORKER, _EVALUATES, _BENT.format(where=f"{_ON_CLUSTER} else 1")),
    ),
    Defect(
        name="lost batch",
        criterion="cycle_completion",
        needs=("recovery",),
        edit=_edit(
            "ga/evaluators/driver.py",
            "            for result in dispatcher.run():\n"
            "                self._connection.send(result)",
            "            for number, result in enumerate(dispatcher.run()):\n"
            "                if number != 2: self._connection.send(result)",
        ),
    ),
    Defect(
        name="generations a thousand times slower, by the ledger",
        criterion="generation_time",
        needs=("recovery",),
        edit=_edit(
            "ga/run.py",
            "        seconds = time.perf_counter() - began\n",
            "        seconds = 1000 * (time.perf_counter() - began)\n",
        ),
    ),
    Defect(
        name="no second try",
        criterion="worker_recovery",
        needs=("recovery",),
        edit=_edit(
            "ga/evaluators/dispatch.py",
            "            if reply is not Fault.LOST:\n",
            "            if reply is Fault.LOST:\n"
            "                self._close(job)\n"
            "                return\n"
            "            if reply is not Fault.LOST:\n",
        ),
    ),
    Defect(
        name="nodes that never come back",
        criterion="worker_recovery",
        needs=("recovery",),
        harm="nodes stay away",
    ),
    Defect(
        name="out of memory on a node",
        criterion="memory_stability",
        needs=("recovery",),
        edit=_edit(_WORKER, _BEGINS, _HOG + _BEGINS),
    ),
    Defect(
        name="sleeping workers",
        criterion="speedup",
        needs=("speedup",),
        edit=_edit(
            _WORKER,
            _EVALUATES,
            f'        __import__("time").sleep(0.4 {_ON_CLUSTER} else 0)\n{_EVALUATES}',
        ),
    ),
    Defect(
        name="nodes at ten times the price",
        criterion="cost_per_day",
        needs=("speedup",),
        edit=_edit("ga/capacity/prices.py", "    on_demand=0.34,", "    on_demand=3.4,"),
    ),
    Defect(
        name="idle workers",
        criterion="cpu_efficiency",
        needs=("speedup",),
        edit=_edit(
            _WORKER,
            _EVALUATES,
            f'        __import__("time").sleep(0.4 {_ON_CLUSTER} else 0)\n{_EVALUATES}',
        ),
    ),
    Defect(
        name="broken panel",
        criterion="grafana_functional",
        needs=("recovery", "panels"),
        edit=_edit(
            "deploy/grafana/dashboards/cluster.json",
            '"expr": "sum(ray_running_jobs)"',
            '"expr": "sum(ray_no_such_series)"',
        ),
    ),
    Defect(
        name="a socket open to all",
        criterion="exposure",
        needs=("exposure",),
        harm="open socket",
    ),
    Defect(name="a slow link", criterion="network_latency", needs=("network",), harm="slow link"),
    Defect(
        name="a node that restarts by itself",
        criterion="container_stability",
        needs=("watch",),
        harm="node restarted",
    ),
    Defect(
        name="dead exporter",
        criterion="prometheus_collection",
        needs=("watch",),
        harm="exporter killed",
    ),
    Defect(
        name="a Prometheus that stands still",
        criterion="prometheus_collection",
        needs=("watch",),
        harm="prometheus stopped",
    ),
    Defect(
        name="no alerts",
        criterion="alerting",
        needs=("alert",),
        harm="alerts stopped",
    ),
    Defect(
        name="another result on the cluster",
        criterion="preemption",
        needs=("reference", "preemption"),
        edit=_edit(_WORKER, _EVALUATES, _BENT.format(where=f"{_ON_CLUSTER} else 1")),
    ),
    Defect(
        name="individuals beyond 1,500 dropped",
        criterion="population_load",
        needs=("population",),
        edit=_edit(
            "ga/ledger/store.py",
            "insert(connection, individuals, members)",
            "insert(connection, individuals, members[:1500])",
        ),
    ),
    Defect(
        name="nodes that are never given back",
        criterion="autoscaling",
        needs=("reference", "autoscaling"),
        edit=_edit(
            "ga/evaluators/driver.py",
            "            self._request(0)\n",
            "            self._spec.workers\n",
        ),
    ),
    Defect(
        name="runs forgotten when the service starts again",
        criterion="service_load",
        needs=("service",),
        edit=_edit(
            "ga/service/runner.py",
            "        resumed = self._store.begun(job.run)\n",
            "        resumed = False\n",
        ),
    ),
    Defect(name="dead dashboard", criterion="dashboard", needs=("watch",), harm="dashboard killed"),
    Defect(
        name="no fall-back",
        criterion="rollback",
        needs=("reference", "rollback"),
        edit=_edit(
            "ga/run.py",
            "        self._tally.fallbacks += 1\n",
            "        raise error\n        self._tally.fallbacks += 1\n",
        ),
    ),
)
"""In the order in which they are tried on one stack: what cannot be mended comes last."""
