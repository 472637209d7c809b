"""A real cluster of two nodes, one of which computes other bits than all other machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolution_gate import fixtures
from evolution_gate.fixtures import Stack
from tests.support.golden_run import ROOT, RUN, RUN_DIGEST
from validation.mutation.injectors import odd_node

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with fixtures.start_stack(nodes=2, backend="processes") as stack, odd_node(stack):
        yield stack


def ga(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the engine where the stack wants drivers to run."""
    process = stack.driver(
        [sys.executable, "-m", "ga", *arguments],
        env={**stack.endpoints.env, "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )
    out, err = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_deviating_node_is_named_and_digest_golden(stack: Stack, tmp_path: Path) -> None:
    odd, good = stack.nodes
    store = ("--store", f"sqlite:///{tmp_path}/run.db")
    log = tmp_path / "log"
    done = ga(
        stack, *RUN, *store, "--mode", "distributed", "--address", stack.endpoints.ray,
        "--log", str(log), "--run-id", "0123456789ab",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["digest"], found["mode"]) == (RUN_DIGEST, "distributed")
    assert set(found["cpu_seconds_by_node"]) == {good.address}
    assert f"ga: node {odd.address} gets no work: its processor" in done.stderr
    assert "python -m ga numerics" in done.stderr
    events = [json.loads(line) for line in log.read_text().splitlines()]
    checked = {e["node"]: e["refused"] for e in events if e["event"] == "node"}
    assert checked[good.address] is None
    assert "to other bits" in checked[odd.address]
    verified = ga(stack, "verify", "0123456789ab", *store, "--json")
    report = json.loads(verified.stdout)
    assert report["equal"]
    assert list(report["processors"].values()) == [[good.address]]
    assert "to other bits" in report["refused"][odd.address]
    listed = json.loads(ga(stack, "runs", *store, "--json").stdout)
    assert listed[0]["processors"] == report["processors"]
