"""The checkers' findings are errors unless they are accepted, and no entry accepts nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

from tools.check_deployment import ACCEPTED, FOLDER, KUBERNETES, Finding, judge, manifests


def found(rule: str, checker: str = "checkov") -> Finding:
    return Finding(checker=checker, rule=rule, place="a.yaml:3", message="it is wrong")


def test_only_accepted_findings_pass() -> None:
    accepted = {"checkov": {"A": "why"}, "hadolint": {"B": "why"}}
    findings = [found("A"), found("A"), found("B", "hadolint")]
    assert judge(findings, accepted) == ([], 3)
    # The entry of another checker accepts nothing.
    errors, count = judge([*findings, found("B")], accepted)
    assert errors == ["a.yaml:3: checkov B: it is wrong"]
    assert count == 3


def test_entry_without_finding_is_an_error() -> None:
    errors, count = judge([found("A")], {"checkov": {"A": "why", "C": "why"}})
    assert errors == ["checks.toml: checkov C is accepted but not found; remove the entry"]
    assert count == 1


def test_every_accepted_finding_has_a_reason() -> None:
    settings = tomllib.loads(ACCEPTED.read_text())
    del settings["yamllint-rules"]
    assert settings.keys() <= {"hadolint", "yamllint", "kubernetes-validate", "checkov"}
    reasons = [reason for rules in settings.values() for reason in rules.values()]
    assert all(len(reason.split()) >= 4 for reason in reasons)


def test_every_pod_is_given_to_the_checkers() -> None:
    documents = [one for some in manifests(FOLDER / KUBERNETES).values() for one in some]
    assert {one["metadata"]["namespace"] for one in documents} == {"evolution-gate"}
    # The head, two groups of workers, and the pod that submits a job.
    made = [one["metadata"]["name"] for one in documents if one["kind"] in ("Pod", "Job")]
    assert made == [*(f"genetic-cluster-{number}" for number in range(3)), "evolution"]
    assert {"Pod", "Job", "CronJob", "StatefulSet"} <= {one["kind"] for one in documents}
    assert not {"RayCluster", "RayJob"} & {one["kind"] for one in documents}


def test_manifest_folder_is_read_as_given(tmp_path: Path) -> None:
    job = {
        "apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "j"},
        "spec": {"submitterPodTemplate": {"spec": {"containers": []}}},
    }  # fmt: skip
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([job, {**job, "apiVersion": "x/v1"}]))
    first, second = manifests(tmp_path)["a.yaml"]
    assert first["kind"] == "Job"
    assert first["spec"]["template"]["metadata"]["labels"] == {"job-name": "j"}
    assert second["kind"] == "RayJob"
