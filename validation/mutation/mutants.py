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
    "odd node",
    "outages",
    "leak",
    "unwatched",
    "slow link",
    "open socket",
    "default password",
    "no receipts",
    "watch stopped",
    "observer stopped",
]
Expected = Literal["FAIL", "INCONCLUSIVE"]
_ANY_STACK: Final[frozenset[Harm]] = frozenset({
    "nodes stay away", "node restarted", "slow link", "open socket", "default password",
    "no receipts", "watch stopped", "observer stopped",
})  # fmt: skip
"""Done from outside, or to who watches: alike to containers."""

_WORKER: Final = "ga/execution/worker.py"
_DRIVER: Final = "ga/execution/ray/driver.py"
_ALIVE: Final = "        return {node: cpus for node, cpus in found.items() if self._fit(node)}\n"
_EVALUATES: Final = "        batch = evaluate_batch(market, settings, genomes)\n"
_BEGINS: Final = "    with _bounded("
_ON_CLUSTER: Final = 'if "ray" in sys.modules'
"""Only workers of the cluster have Ray loaded: so one arm is broken and the other is not."""
_BENT: Final = """\
        from dataclasses import replace
        batch = evaluate_batch(market, settings, genomes)
        factor = 1 + 1e-9 {where}
        batch = replace(batch, outcomes=tuple(
            o if o.fitness is None else o._replace(fitness=o.fitness * factor)
            for o in batch.outcomes))
"""
_LOST: Final = "            if reply is not Fault.LOST:\n"
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
    edits: tuple[Edit, ...] = ()
    harm: Harm | None = None
    """What is done to the stack, or to who watches it, instead of to the code."""
    expects: Expected = "FAIL"
    """INCONCLUSIVE where the system is well and evidence is taken away. That proves something only
    if the healthy system passes by the same evidence."""

    @property
    def on_containers(self) -> bool:
        """Whether it can be planted in a stack of containers: the engine's code is in an image."""
        engine = any(edit.file.startswith("ga/") for edit in self.edits)
        return not engine and (self.harm is None or self.harm in _ANY_STACK)


def _edit(file: str, old: str, new: str) -> tuple[Edit, ...]:
    return (Edit(file=file, old=old, new=new),)


_OTHER_LOG: Final = _edit(
    "ga/families/volatility_scaling.py",
    "    return np.concatenate([[0.0], np.cumsum(log(ratios))])[None, :]\n",
    "    import sys\n"
    f"    wrong = 2.0**-52 {_ON_CLUSTER} else 0.0\n"
    "    return np.concatenate([[0.0], np.cumsum(log(ratios) * (1.0 + wrong))])[None, :]\n",
)
"""Nodes whose logarithms differ by a unit in the last place from those of this machine."""
_UNCHECKED: Final = _edit(
    "ga/execution/numerics_check.py",
    "        wrong = [name for name, digest in self.digests.items()"
    " if digest != EXPECTED.get(name)]\n",
    "        wrong: list[str] = []\n",
)
_OTHER_ON_CLUSTER: Final = _edit(_WORKER, _EVALUATES, _BENT.format(where=f"{_ON_CLUSTER} else 1"))


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
        name="hours that nobody watched, passed over in silence (simulated)",
        criterion="uptime",
        needs=("soak",),
        harm="unwatched",
        expects="INCONCLUSIVE",
    ),
    Defect(
        name="a node that leaks 1 MB a minute, for two days (simulated)",
        criterion="memory_stability",
        needs=("soak",),
        harm="leak",
    ),
    Defect(
        name="dropped write",
        criterion="no_data_loss",
        needs=("reference",),
        edits=_edit(
            "ga/ledger/store.py",
            "insert(connection, individuals, members)",
            "insert(connection, individuals, members[:-1])",
        ),
    ),
    Defect(
        name="an individual held twice",
        criterion="no_data_loss",
        needs=("reference",),
        edits=_edit(
            "ga/ledger/store.py",
            "insert(connection, individuals, members)",
            "insert(connection, individuals,"
            " [*members, (run, generation, len(members), members[0][3])])",
        ),
    ),
    Defect(
        name="a kill without a receipt",
        criterion="no_data_loss",
        needs=("reference", "recovery"),
        harm="no receipts",
        expects="INCONCLUSIVE",
    ),
    Defect(
        name="an observer that speaks up at the end only",
        criterion="reproducibility",
        needs=("reference", "recovery"),
        harm="observer stopped",
        expects="INCONCLUSIVE",
    ),
    Defect(
        name="a watch that stops half-way",
        criterion="container_stability",
        needs=("watch", "recovery"),
        harm="watch stopped",
        expects="INCONCLUSIVE",
    ),
    Defect(
        name="altered results",
        criterion="no_data_loss",
        needs=("reference",),
        edits=_edit(_WORKER, _EVALUATES, _BENT.format(where="")),
    ),
    Defect(
        name="missing rows in a backup",
        criterion="backup_restore",
        needs=("backup",),
        edits=_edit(
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
        edits=_edit(
            "ga/evolution.py",
            "        if not 1 <= self.generations <= 1_000_000:",
            "        if self.generations > 1_000_000:",
        ),
    ),
    Defect(
        name="another result on the cluster",
        criterion="reproducibility",
        needs=("reference", "recovery"),
        edits=_OTHER_ON_CLUSTER,
    ),
    Defect(
        name="nodes whose processor computes other bits, and nobody checks",
        criterion="reproducibility",
        needs=("reference", "recovery"),
        edits=(*_OTHER_LOG, *_UNCHECKED),
    ),
    Defect(
        name="a node whose processor computes other bits, and gets no work",
        criterion="reproducibility",
        needs=("reference", "recovery"),
        harm="odd node",
    ),
    Defect(
        name="lost batch",
        criterion="cycle_completion",
        needs=("recovery",),
        edits=_edit(
            _DRIVER,
            "            for result in dispatcher.run():\n"
            "                self._connection.send(result)",
            "            for number, result in enumerate(dispatcher.run()):\n"
            "                if number != 2: self._connection.send(result)",
        ),
    ),
    Defect(
        name="generations ten minutes longer, by the ledger",
        criterion="generation_time",
        needs=("recovery",),
        edits=_edit(
            "ga/runner.py",
            "        seconds = time.perf_counter() - began\n",
            "        seconds = 600.0 + time.perf_counter() - began\n",
        ),
    ),
    Defect(
        name="no second try",
        criterion="worker_recovery",
        needs=("recovery",),
        edits=_edit(
            "ga/execution/ray/dispatcher.py",
            _LOST,
            "            if reply is Fault.LOST:\n"
            "                self._close(job)\n"
            "                return\n" + _LOST,
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
        edits=_edit(_WORKER, _BEGINS, _HOG + _BEGINS),
    ),
    Defect(
        name="out of memory on a node, kept from the log",
        criterion="memory_stability",
        needs=("recovery",),
        edits=(
            *_edit(_WORKER, _BEGINS, _HOG + _BEGINS),
            *_edit(
                _DRIVER,
                "            return Fault.MEMORY\n",
                "            return Fault.CRASHED\n",
            ),
            *_edit(
                _DRIVER,
                "import sys\n",
                'import sys\nsys.stderr = open(os.devnull, "w")\n',
            ),
        ),
    ),
    Defect(
        # All work on the cluster is done twice: about 1.5 times as fast as one node then.
        name="a cluster half as fast as it was",
        criterion="speedup",
        needs=("speedup",),
        edits=_edit(
            _WORKER,
            _EVALUATES,
            f"        {_ON_CLUSTER}:\n"
            f"            evaluate_batch(market, settings, genomes)\n{_EVALUATES}",
        ),
    ),
    Defect(
        name="nodes at ten times the price",
        criterion="cost_per_day",
        needs=("speedup",),
        edits=_edit("ga/capacity/prices.py", "    on_demand=0.34,", "    on_demand=3.4,"),
    ),
    Defect(
        name="idle workers",
        criterion="cpu_efficiency",
        needs=("speedup",),
        edits=_edit(
            _WORKER,
            _EVALUATES,
            f'        __import__("time").sleep(0.4 {_ON_CLUSTER} else 0)\n{_EVALUATES}',
        ),
    ),
    Defect(
        name="broken panel",
        criterion="grafana_functional",
        needs=("recovery", "panels"),
        edits=_edit(
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
    Defect(
        name="an account with a password that anybody would try",
        criterion="exposure",
        needs=("exposure",),
        harm="default password",
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
        edits=_OTHER_ON_CLUSTER,
    ),
    Defect(
        # Its own work is done when it goes: a node that is drained takes no other.
        name="work that is lost when a node is taken away",
        criterion="preemption",
        needs=("reference", "preemption"),
        edits=(
            Edit(
                file=_DRIVER,
                old=_ALIVE,
                new=f"        self.left = len(found) < len(self._warming)\n{_ALIVE}",
            ),
            Edit(
                file=_DRIVER,
                old="        return answer.results\n",
                new="        return [] if self.left else answer.results\n",
            ),
        ),
    ),
    Defect(
        name="individuals beyond 1,500 dropped",
        criterion="population_load",
        needs=("population",),
        edits=_edit(
            "ga/ledger/store.py",
            "insert(connection, individuals, members)",
            "insert(connection, individuals, members[:1500])",
        ),
    ),
    Defect(
        name="nodes that are never given back",
        criterion="autoscaling",
        needs=("reference", "autoscaling"),
        edits=_edit(
            _DRIVER,
            "            self._request(0)\n",
            "            self._spec.workers\n",
        ),
    ),
    Defect(
        name="runs forgotten when the service starts again",
        criterion="service_load",
        needs=("service",),
        edits=_edit(
            "ga/service/supervisor.py",
            "        resumed = self._store.begun(job.run)\n",
            "        resumed = False\n",
        ),
    ),
    Defect(name="dead dashboard", criterion="dashboard", needs=("watch",), harm="dashboard killed"),
    Defect(
        name="no fall-back",
        criterion="rollback",
        needs=("reference", "rollback"),
        edits=_edit(
            "ga/runner.py",
            "        self._tally.fallbacks += 1\n",
            "        raise error\n        self._tally.fallbacks += 1\n",
        ),
    ),
)
"""In the order in which they are tried on one stack: what cannot be mended comes last."""
