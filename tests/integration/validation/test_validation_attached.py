"""The gate on a cluster that others started: it works, and says what it cannot know."""

import dataclasses
import re
import time
from pathlib import Path

import pytest

from evolution_gate import fixtures
from validation.campaigns.lists import ATTACHED
from validation.campaigns.run import Options, run_campaign
from validation.decision import decide
from validation.evidence.log import read_evidence
from validation.evidence.records import CpuWindow, Fault, Usage
from validation.stages.scale import SHORT
from validation.targets import AttachedCluster
from validation.verdict import Status

pytest_plugins = ["pytester"]

KNOWN = {
    *("dashboard", "generation_time", "prometheus_collection", "container_stability", "bad_input"),
}
NEVER = {
    *("worker_recovery", "no_data_loss", "reproducibility", "population_load"),
    *("rollback", "preemption", "autoscaling", "alerting", "speedup"),
    *("memory_stability", "cpu_efficiency", "network_latency", "exposure", "backup_restore"),
    "grafana_functional",
}


@pytest.mark.nightly
@pytest.mark.stack
def test_attached_cluster_is_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fixtures.start_stack(nodes=2, backend="processes") as theirs:
        ends = theirs.endpoints
        assert ends.postgres is not None
        assert ends.redis is not None
        for name, value in ends.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GA_STORE", ends.postgres)
        monkeypatch.setenv("GA_CACHE_URL", ends.redis)
        before = theirs.services()
        target = AttachedCluster(ends.ray, dashboard=ends.dashboard, prometheus=ends.prometheus)
        scale = dataclasses.replace(SHORT, evolution=(300, 10), recoveries=2)
        options = Options(
            seed=3, run="attached", folder=tmp_path, scale=scale, replay="", say=print
        )  # fmt: skip
        gathered = run_campaign(target, ATTACHED, options)
        # It is as it was, and no slot is held.
        assert theirs.services() == before
        time.sleep(1.0)  # A node that was ended would still be listed for a moment.
        assert theirs.alive_nodes() == {"n1", "n2"}
    record = read_evidence(gathered.evidence)
    assert not record.all(Usage)
    assert not record.all(CpuWindow)
    assert not record.all(Fault)
    found = decide([record]).verdicts
    # Without a fault they prove less than the criteria ask for, but what they saw is in order.
    assert found["no_data_loss"].measured.endswith("0 lost, 0 doubled, 0 unknown")
    equal = re.fullmatch(r"(\d+) histories equal", found["reproducibility"].measured)
    assert equal is not None
    # Locally twice, and on the cluster twice at least, until it was watched long enough.
    assert int(equal[1]) > 3
    print({name: (v.status.value, v.reason) for name, v in found.items()})
    assert [name for name, v in found.items() if v.status is Status.FAIL] == []
    assert {name for name in KNOWN if found[name].status is not Status.PASS} == set()
    assert {name for name in NEVER if found[name].status is not Status.INCONCLUSIVE} == set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--address", "nowhere"], "is not HOST:PORT"),
        (["--address", "127.0.0.1:1"], "nothing listens there"),
        (["--prometheus", "http://127.0.0.1:1"], "need --address"),
    ],
)
def test_bad_address_is_one_clear_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, options: list[str], words: str
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_it(gate_result): pass")
    said = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    said.stdout.fnmatch_lines([f"*{words}*"])
    assert not (pytester.path / "reports").exists()
