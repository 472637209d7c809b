"""The Kubernetes manifests, checked without a cluster."""

from __future__ import annotations

import copy
import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from evolution_gate.fixtures.backends.kubernetes import manifests
from evolution_gate.fixtures.services.monitoring import DEPLOY
from ga.cli.parser import make_parser as _parser

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = json.loads((Path(__file__).parent / "kuberay.schema.json").read_text())
CRDS = "GA_KUBERAY_CRDS"
"""Variable: files or folders with KubeRay's CRDs, joined as in PATH."""


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kuberay" / name).read_text()))


def kuberay() -> list[dict[str, Any]]:
    return documents("cluster.yaml") + documents("job.yaml")


@pytest.fixture
def cluster() -> dict[str, Any]:
    (found,) = documents("cluster.yaml")
    return found


@pytest.fixture
def job() -> dict[str, Any]:
    (found,) = documents("job.yaml")
    return found


def strict(schema: Any) -> Any:
    """A CRD's schema that refuses fields it does not know, which Kubernetes drops in silence."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    known = isinstance(found.get("properties"), dict) and "type" in found
    open_ended = found.get("x-kubernetes-preserve-unknown-fields")
    if known and not open_ended and "additionalProperties" not in found:
        found["additionalProperties"] = False
        if "apiVersion" in found["properties"]:
            found["properties"]["metadata"] = {"type": "object"}
    return found


def schemas(crds: list[dict[str, Any]]) -> dict[str, Any]:
    """Strict schema of version v1 by kind."""
    return {
        crd["spec"]["names"]["kind"]: strict(version["schema"]["openAPIV3Schema"])
        for crd in crds
        if crd and crd.get("kind") == "CustomResourceDefinition"
        for version in crd["spec"]["versions"]
        if version["name"] == "v1"
    }


@pytest.mark.parametrize("document", kuberay(), ids=lambda one: one["kind"])
def test_manifests_have_only_fields_of_v1(document: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)


def _misspell(one: dict[str, Any]) -> None:
    one["spec"]["autoscalerOption"] = one["spec"].pop("autoscalerOptions")


def _text(one: dict[str, Any]) -> None:
    one["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def _root(one: dict[str, Any]) -> None:
    one["spec"]["workerGroupSpecs"][0]["template"]["spec"]["securityContext"]["runAsNonRoot"] = (
        False
    )


def _latest(one: dict[str, Any]) -> None:
    head = one["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    head["image"] = "evolution-gate/engine:latest"


def _old(one: dict[str, Any]) -> None:
    one["apiVersion"] = "ray.io/v1alpha1"


@pytest.mark.parametrize("break_it", [_misspell, _text, _root, _latest, _old])
def test_schema_refuses_invalid_manifests(
    cluster: dict[str, Any], break_it: Callable[[dict[str, Any]], None]
) -> None:
    broken = copy.deepcopy(cluster)
    break_it(broken)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


def test_manifests_are_valid_for_the_crd() -> None:
    """With ``GA_KUBERAY_CRDS=helm-chart/kuberay-operator/crds`` of a KubeRay checkout."""
    given = os.environ.get(CRDS)
    if not given:
        pytest.skip(f"{CRDS} names no file or folder with KubeRay's CRDs")
    paths = [Path(one) for one in given.split(os.pathsep)]
    files = [f for p in paths for f in (sorted(p.glob("*.yaml")) if p.is_dir() else [p])]
    found = schemas([one for file in files for one in yaml.safe_load_all(file.read_text())])
    for document in kuberay():
        jsonschema.validate(document, found[document["kind"]])


def test_crd_is_read_strictly() -> None:
    properties = {
        "apiVersion": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": {"type": "object", "properties": {"known": {"type": "integer"}}},
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    crd = {
        "kind": "CustomResourceDefinition",
        "spec": {"names": {"kind": "K"}, "versions": [{"name": "v1", "schema": schema}]},
    }
    found = schemas([crd])["K"]
    jsonschema.validate({"apiVersion": "x", "metadata": {"a": 1}, "spec": {"known": 1}}, found)
    for wrong in ({"known": "1"}, {"unknown": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"apiVersion": "x", "spec": wrong}, found)


def test_cluster_manifest_has_scaling_and_token(cluster: dict[str, Any]) -> None:
    spec = cluster["spec"]
    assert spec["autoscalerOptions"]["version"] == "v2"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # Autoscaler v2 counts nodes that never come back under one name.
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert pods[0]["containers"][0]["image"] == pods[1]["containers"][0]["image"]
    environments = [pod["containers"][0]["env"] for pod in pods]
    for environment in [*environments, spec["autoscalerOptions"]["env"]]:
        by_name = {one["name"]: one for one in environment}
        assert by_name["RAY_AUTH_MODE"]["value"] == "token"
        assert by_name["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "ray-token"


def test_manifests_contain_no_secret() -> None:
    """A password comes by reference; nothing of kind Secret is checked in."""
    files = sorted((DEPLOY / "kuberay").glob("*.yaml"))
    assert [file.name for file in files] == [
        "alerts.yaml", "backup.yaml", "cluster.yaml", "disruption.yaml", "job.yaml",
        "network.yaml", "redis.yaml", "validation-rbac.yaml",
    ]  # fmt: skip
    every = [one for file in files for one in documents(file.name)]
    assert "Secret" not in {one["kind"] for one in every}


def test_job_uses_the_cluster_and_existing_options(
    cluster: dict[str, Any], job: dict[str, Any]
) -> None:
    assert job["spec"]["clusterSelector"] == {"ray.io/cluster": cluster["metadata"]["name"]}
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:3] == ["python", "-m", "ga"]
    assert _parser().parse_args(words[3:]).mode == "distributed"


def test_network_policy_covers_all_cluster_pods(
    cluster: dict[str, Any], job: dict[str, Any]
) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in documents("network.yaml")}
    policy, name = policies["genetic-cluster"], cluster["metadata"]["name"]
    # All but the one that the gate cuts off.
    assert policy["podSelector"] == {
        "matchLabels": {"ray.io/cluster": name},
        "matchExpressions": [{"key": manifests.CUT, "operator": "DoesNotExist"}],
    }
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    for rule in policy["ingress"]:
        # An empty `from` lets everybody in.
        assert rule["from"]
        assert all(peer for peer in rule["from"])
    submitters = [
        peer["podSelector"]["matchLabels"]["job-name"]
        for rule in policy["ingress"]
        for peer in rule["from"]
        if "job-name" in peer.get("podSelector", {}).get("matchLabels", {})
    ]
    assert submitters == [job["metadata"]["name"]]
    _, redis = documents("redis.yaml")
    labels = redis["spec"]["template"]["metadata"]["labels"]
    assert policies["gcs-redis"]["podSelector"] == {"matchLabels": labels}
    address = cluster["spec"]["gcsFaultToleranceOptions"]["redisAddress"]
    assert address == f"{redis['metadata']['name']}:6379"


def _pods() -> dict[str, dict[str, Any]]:
    """Labels and specification of every pod of the manifests, by the name of what makes it."""
    (cluster,), (job,) = documents("cluster.yaml"), documents("job.yaml")
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    found = {}
    for kind, group in [
        ("head", spec["headGroupSpec"]),
        *(("worker", one) for one in spec["workerGroupSpecs"]),
    ]:
        # KubeRay adds these labels.
        labels = {"ray.io/cluster": name, "ray.io/node-type": kind}
        own = group["template"]["metadata"]["labels"]
        found[group.get("groupName", kind)] = {
            "labels": own | labels, "spec": group["template"]["spec"],
        }  # fmt: skip
    submitter = job["spec"]["submitterPodTemplate"]
    found["submitter"] = {"labels": {"job-name": job["metadata"]["name"]}, **submitter}
    _, redis = documents("redis.yaml")
    _, backup = documents("backup.yaml")
    for one in (redis["spec"]["template"], backup["spec"]["jobTemplate"]["spec"]["template"]):
        (container,) = one["spec"]["containers"]
        found[container["name"]] = {"labels": one["metadata"]["labels"], "spec": one["spec"]}
    return found


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def _allowed(policies: list[dict[str, Any]], source: str, target: str, port: int) -> bool:
    """Whether pods of this namespace may connect, as Kubernetes reads the policies."""
    pods = _pods()

    def passes(direction: str, of: dict[str, Any], other: dict[str, Any]) -> bool:
        ends = {"Ingress": "from", "Egress": "to"}
        for policy in policies:
            if direction not in policy["policyTypes"] or not _selects(
                policy["podSelector"], of["labels"]
            ):
                continue
            for rule in policy.get(direction.lower(), ()):
                peers = rule.get(ends[direction])
                ports = rule.get("ports")
                peer = peers is None or any(
                    "namespaceSelector" not in one
                    and _selects(one.get("podSelector", {}), other["labels"])
                    for one in peers
                )
                if peer and (ports is None or port in [one["port"] for one in ports]):
                    return True
        return False

    assert any(one["podSelector"] == {} for one in policies)
    return passes("Egress", pods[source], pods[target]) and passes(
        "Ingress", pods[target], pods[source]
    )


def test_only_needed_connections_are_allowed() -> None:
    policies = [one["spec"] for one in documents("network.yaml")]
    denied = policies[0]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    needed = {
        *(("head", "redis", 6379), ("cpu", "redis", 6379), ("memory", "redis", 6379)),
        ("submitter", "head", 8265),
    }
    for source in _pods():
        for target in _pods():
            for port in (22, 6379, 8265, 10001):
                inside = {source, target} <= {"head", "cpu", "memory"}
                submits = source == "submitter" and port == 8265 and target in ("cpu", "memory")
                expected = inside or submits or (source, target, port) in needed
                found = _allowed(policies, source, target, port)
                assert found == expected, (source, target, port)


def test_only_head_and_backup_leave_the_namespace() -> None:
    policies = [one["spec"] for one in documents("network.yaml")]
    # A rule without peers allows every address.
    outside = {
        name: sorted(
            port["port"]
            for policy in policies
            if "Egress" in policy["policyTypes"] and _selects(policy["podSelector"], pod["labels"])
            for rule in policy.get("egress", ())
            if "to" not in rule
            for port in rule["ports"]
        )
        for name, pod in _pods().items()
    }
    nothing: list[int] = []
    assert outside == {
        **dict.fromkeys(_pods(), nothing), "head": [443, 5432, 6443], "backup": [5432],
    }  # fmt: skip


def test_pods_are_confined_and_probed() -> None:
    for name, pod in _pods().items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] == (name == "head")
        volumes = {one["name"] for one in spec["volumes"]}
        if name == "redis":
            volumes.add("data")
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {one["name"] for one in container["volumeMounts"]} == volumes
            assert container["resources"].keys() == {"requests", "limits"}
            finite = name in ("submitter", "backup")
            assert ({"readinessProbe", "livenessProbe"} <= container.keys()) != finite


def test_disruption_budgets_select_pods() -> None:
    pods = _pods()
    selected = []
    for budget in documents("disruption.yaml"):
        # For pods of a custom resource Kubernetes accepts an integer minimum only.
        assert isinstance(budget["spec"]["minAvailable"], int)
        selector = budget["spec"]["selector"]
        selected.append({name for name, pod in pods.items() if _selects(selector, pod["labels"])})
    assert selected == [{"head"}, {"cpu", "memory"}, {"redis"}]


def test_nightly_backup_is_watched(job: dict[str, Any]) -> None:
    claim, backup = documents("backup.yaml")
    pod = backup["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:3] == ["python", "-m", "ga"]
    options = _parser().parse_args(container["command"][3:])
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "backups"]
    assert options.file.is_relative_to(mount["mountPath"])
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    submitter = job["spec"]["submitterPodTemplate"]["spec"]["containers"][0]
    assert container["image"] == submitter["image"]
