"""Prometheus' own tool, and the series that a query can count on."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from evolution_gate.fixtures.services import binaries
from evolution_gate.fixtures.services.monitoring import DEPLOY
from ga.evaluation.evaluate import Batch
from ga.evaluation.settings import Outcome
from ga.execution.protocol import BatchResult, NodeReport
from ga.genome import Genome
from ga.metrics import Telemetry

RULES = DEPLOY / "prometheus"


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run it, from PATH or from Debian's package; ``stdout`` holds its errors too, in order."""
    program, reason = binaries.prometheus()
    if program is None:
        pytest.skip(reason)
    argv = [str(program.with_name("promtool")), *map(str, arguments)]
    return subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )


def series() -> list[str]:
    """What Ray exports, as it was seen, and what the engine exports, asked of it now."""
    text = (Path(__file__).parent / "ray_series.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")] + _engine()


def _engine() -> list[str]:
    telemetry = Telemetry("r", {"database": ("127.0.0.1", 1), "cache": ("127.0.0.1", 1)})
    telemetry.mode("distributed")
    telemetry.checked(
        NodeReport(id="n", node="10.0.0.2", processor="p", kernel_version=1, digest="d")
    )
    outcomes = {
        "a": Outcome(key="a", fitness=1.0, trades=1, max_drawdown=0.1),
        "b": Outcome(key="b", fitness=None, error="x"),
    }
    genomes = {key: Genome("rsi_filter", ()) for key in outcomes}
    batch = Batch(
        outcomes=tuple(outcomes.values()), cpu_seconds=0.1, started_at=1.0, finished_at=2.0
    )
    answer = BatchResult(indices=(0, 1), batch=batch, node="10.0.0.2")
    list(telemetry.watch(iter([answer]), list(genomes.values())))
    telemetry.committed(genomes, outcomes, {"a": 1, "b": 1}, 1.0)
    lines = generate_latest(telemetry.registry).decode().splitlines()
    return [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]


def metrics(query: str) -> set[str]:
    """Names of the series that a query names (not its functions, labels or strings)."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    words = {"or", "and", "unless", "bool", "offset", "by", "on"}
    found = set(re.findall(r"(?<![\w.])[a-zA-Z_][\w:]*(?!\w*\s*\()", bare)) - words
    return {name for name in found if not re.fullmatch(r"[smhd]", name)}


def with_data(queries: Sequence[str], known: Sequence[str], folder: Path) -> str:
    """What promtool says about the claim that every query returns something."""
    test = {
        "rule_files": [str(RULES / "recording.yml"), str(RULES / "alerts.yml")],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": one, "values": "1x60" if one.startswith("up{") else "1+1x60"}
                    for one in known
                ],
                "promql_expr_test": [
                    {
                        "expr": f"count({query}) > bool 0",
                        "eval_time": "12m",
                        "exp_samples": [{"labels": "{}", "value": 1}],
                    }
                    for query in queries
                ],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(json.dumps(test))
    done = promtool("test", "rules", path)
    return "" if done.returncode == 0 else done.stdout
