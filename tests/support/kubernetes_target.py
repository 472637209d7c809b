"""A target on the stand-in for Kubernetes, as the tests of stack and gate use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evolution_gate.fixtures.backends.kubernetes.deployment import Deployment, Where
from evolution_gate.fixtures.backends.kubernetes.stack import KubernetesStack
from evolution_gate.fixtures.system import ports
from tests.support.kubernetes_double import Cluster


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A healthy RayCluster, which the kubeconfig names."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GA_STORE", "GA_CACHE_URL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    folder = tmp_path / "kubernetes"
    folder.mkdir()
    found = Cluster(folder)
    try:
        monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig()))
        monkeypatch.setattr(ports, "reachable", lambda host, _port, **_: found.reachable(host))
        yield found
    finally:
        found.end()


def attach(cluster: Cluster, *, seconds: float = 20.0, confirm: float = 5.0) -> KubernetesStack:
    """The stack of a cluster, with Ray's services where the stand-in has them."""
    return KubernetesStack(
        Deployment(Where()),
        address=cluster.address,
        dashboard=cluster.url,
        seconds=seconds,
        confirm_seconds=confirm,
    )
