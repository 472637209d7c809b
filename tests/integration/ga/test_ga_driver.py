"""A cluster that the engine starts itself: it is nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from evolution_gate.fixtures.system import process_table
from ga.evaluation.evaluate import evaluate_batch
from ga.evaluation.folds import visible
from ga.evolution import Evolution, Plan
from ga.execution.ray.evaluator import ClusterEvaluator

pytestmark = pytest.mark.stack

_CONNECT = """
import sys, ray
try:
    ray.init(address=sys.argv[1], _node_ip_address="127.0.0.1", log_to_driver=False)
except BaseException as error:
    print(f"REFUSED {type(error).__name__} {error}")
else:
    print("LET IN")
"""


_EVOLVE = """
import sys
from ga.cli.main import main
code = main(sys.argv[1:])
print(code, [name for name in sys.modules if name.partition(".")[0] == "ray"])
"""


def test_own_cluster_rejects_clients_without_token(
    market, settings, monkeypatch, tmp_path: Path
) -> None:
    # Neither a cluster that is named in the environment nor a mode that is set there is used.
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    seen = visible(market, settings)
    plan = Plan(seed=3, population_size=20, generations=1, families=("ema_crossover",))
    genomes = Evolution(plan).ask()
    cluster = ClusterEvaluator(market=seen, settings=settings, families=plan.families, workers=1)
    with closing(cluster):
        cluster.warm_up()
        found = {o.key: o for r in cluster.evaluate(genomes) for o in r.batch.outcomes}
        commands = {
            pid: process_table.command(pid) or []
            for pid in process_table.descendants({os.getpid()})
        }
        (gcs,) = (pid for pid, argv in commands.items() if argv and "gcs_server" in argv[0])
        variables = dict(
            part.split("=", 1)
            for part in Path(f"/proc/{gcs}/environ").read_text().split("\0")
            if "=" in part
        )
        token = variables["RAY_AUTH_TOKEN"]
        assert len(token) == 64
        assert not any(token in word for argv in commands.values() for word in argv)
        (address,) = {
            word.partition("=")[2]
            for argv in commands.values()
            for word in argv
            if word.startswith(("--gcs-address=", "--gcs_address="))
        }
        for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            monkeypatch.delenv(name)

        def connect(**env: str) -> str:
            return subprocess.run(
                [sys.executable, "-c", _CONNECT, address],
                env={**os.environ, "RAY_AUTH_MODE": "token", **env},
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout

        # It is the token alone that makes the difference.
        assert connect(RAY_AUTH_MODE="disabled").startswith("REFUSED")
        assert connect(RAY_AUTH_TOKEN=token).startswith("LET IN")
    assert found == {o.key: o for o in evaluate_batch(seen, settings, genomes).outcomes}


def test_coordinator_never_imports_ray(tmp_path: Path) -> None:
    argv = ["evolve", "--mode", "distributed", "--workers", "1", "--market"]
    argv += ["synthetic:assets=1,bars=900,seed=5", "--families", "ema_crossover", "--json"]
    argv += ["--population-size", "20", "--generations", "2", "--store", str(tmp_path / "a.db")]
    done = subprocess.run(
        [sys.executable, "-c", _EVOLVE, *argv], capture_output=True, text=True, timeout=180
    )
    *_, summary, modules = done.stdout.strip().splitlines()
    assert modules == "0 []", done.stderr
    assert json.loads(summary)["mode"] == "distributed"
