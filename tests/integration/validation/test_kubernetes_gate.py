"""The gate on a RayCluster: consent before anything is changed, the guard, and the dry run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evolution_gate.fixtures.backends.kubernetes import manifests
from evolution_gate.fixtures.protocols import Receipt, StackError
from tests.support.kubernetes_double import Cluster, Failure
from tests.support.kubernetes_target import cluster as cluster
from tests.support.kubernetes_world import CLUSTER, NAME
from validation.cli.main import main
from validation.deployed_targets import KubernetesTarget
from validation.evidence.base import Record
from validation.evidence.records_target import GuardEvent
from validation.safety.guard import LOUD
from validation.safety.guarded_stack import GuardedStack
from validation.stages.registry import STAGES
from validation.targets import TargetOptions, target_of

pytest_plugins = ["pytester"]


def options(cluster: Cluster, **more: Any) -> TargetOptions:
    return TargetOptions(
        target="kubernetes", address=cluster.address, dashboard=cluster.url, **more
    )


@pytest.mark.parametrize(
    ("consent", "words"),
    [
        ({}, f"add --allow-faults all --confirm {NAME}"),
        ({"allow_faults": "all"}, f"add --confirm {NAME}"),
        ({"allow_faults": "all", "confirm": CLUSTER}, f"the target is {NAME!r}"),
        ({"allow_faults": "fire", "confirm": NAME}, "--allow-faults fire: no such fault"),
    ],
)
def test_nothing_changes_without_consent(
    cluster: Cluster, consent: dict[str, str], words: str
) -> None:
    with pytest.raises(StackError) as failed:
        target_of(options(cluster, **consent))
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)
    assert cluster.log
    assert cluster.changes == []


def test_target_states_what_it_can(cluster: Cluster) -> None:
    cluster.denied.add(("create", "networkpolicies"))
    target = target_of(options(cluster, allow_faults="kill,pause", confirm=NAME))
    assert isinstance(target, KubernetesTarget)
    assert (target.name, target.cpus_per_node) == (NAME, 4.0)
    assert target.option == (
        f"--target kubernetes --allow-faults kill,pause --confirm {NAME}"
        f" --address {cluster.address} --dashboard {cluster.url}"
    )
    (record,) = target.records
    said = record.data()
    assert (said["kind"], said["replaced_by"]) == ("kubernetes", "the KubeRay operator")
    assert "may not create networkpolicies" in str(said["missing"])
    assert target.lacks(STAGES["recovery"]) == {}
    assert target.lacks(STAGES["preemption"]) == {"drain": "--allow-faults does not name it"}
    assert cluster.changes == []


def test_other_jobs_are_refused_before_faults(cluster: Cluster) -> None:
    cluster.jobs = [{"job_id": "theirs", "status": "RUNNING", "driver_info": None}]
    target = target_of(options(cluster, allow_faults="kill", confirm=NAME))
    with pytest.raises(StackError, match=r"another job runs on lab/evolution"):
        target.start(alert_webhook=None, say=lambda _: None)
    assert cluster.changes == []


class Gate:
    """A target whose faults are guarded, and what the gate wrote and said."""

    def __init__(self, cluster: Cluster, faults: str) -> None:
        self.records: list[Record] = []
        self.said: list[str] = []
        target = target_of(options(cluster, allow_faults=faults, confirm=NAME))
        self.stack = target.start(alert_webhook=None, say=self.said.append).__enter__()
        guarded = target.guarded(self.stack, add=self.records.append, say=self.said.append)
        assert isinstance(guarded, GuardedStack)
        self.guarded = guarded

    @property
    def events(self) -> list[str]:
        return [one.event for one in self.records if isinstance(one, GuardEvent)]


def test_fault_without_consent_sends_nothing(cluster: Cluster) -> None:
    gate = Gate(cluster, "kill")
    with gate.guarded as stack:
        refused: list[Receipt] = [stack.nodes[0].partition(), stack.nodes[0].pause()]
        refused += [stack.nodes[0].kill_worker(), stack.kill_head()]
    assert not any(one.confirmed for one in refused)
    assert gate.events == ["refused"] * 4
    assert cluster.changes == []
    gate.stack.close()


def test_end_of_campaign_undoes_partition(cluster: Cluster) -> None:
    gate = Gate(cluster, "partition")
    with gate.guarded as stack:
        assert stack.nodes[0].partition().confirmed
        # Only one node at a time.
        assert not stack.nodes[1].partition().confirmed
    assert gate.events == ["refused", "undone"]
    assert cluster.kinds["networkpolicies"] == {}
    gate.stack.close()


def test_failed_undo_is_loud(cluster: Cluster) -> None:
    gate = Gate(cluster, "partition")
    with gate.guarded as stack:
        assert stack.nodes[0].partition().confirmed
        cluster.failures.append(Failure("DELETE", "networkpolicies", 403))
        # What is left keeps the cluster from its steady state, until somebody removes it.
        cluster.failures.append(Failure("GET", "networkpolicies", 403, times=10**6))
    assert gate.events == ["not undone"]
    (loud,) = [line for line in gate.said if line.startswith(LOUD)]
    assert f"kubectl delete networkpolicy {manifests.CUT_POLICY}" in loud
    gate.stack.close()


def test_kill_passes_guard_and_is_replaced(cluster: Cluster) -> None:
    gate = Gate(cluster, "kill")
    with gate.guarded as stack:
        assert stack.nodes[0].kill().confirmed
        assert stack.nodes[0].start().confirmed
    assert gate.events == []
    gate.stack.close()


def test_dry_run_prints_plan_and_changes_nothing(
    cluster: Cluster, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest('pytest_plugins = ["validation.pytest_plugin"]')
    pytester.makepyfile("def test_it(gate_result): pass")
    cluster.denied.add(("watch", "pods"))
    said = pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", f"--target=kubernetes://{CLUSTER}", "--dry-run"
    )
    said.stderr.fnmatch_lines(
        [
            f"*plan of faults on {NAME}; nothing is broken now",
            "*not recovery: kill: may not watch pods: apply deploy/kuberay/validation-rbac.yaml",
            "*replaced by the KubeRay operator; about * in all",
        ]
    )
    assert said.ret == pytest.ExitCode.OK
    assert cluster.changes == []
    assert not (pytester.path / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "without consent"),
        (["--allow-faults", "pause", "--confirm", NAME, "--faults", "1"], "does not name it"),
    ],
)
def test_soak_refuses_before_its_folder(
    cluster: Cluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    out = tmp_path / "s"
    command = ["soak", "--hours", "1", "--out", str(out), "--target", "kubernetes"]
    assert main([*command, "--address", cluster.address, *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not out.exists()
    assert cluster.changes == []
