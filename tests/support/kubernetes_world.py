"""A RayCluster on Kubernetes as objects: pods with processes, an operator, and a network.

The operator replaces pods that end. A pod has three processes of this machine, and folders in the
place of ``/proc`` and of its control group: the first has links to those processes alone.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ray

NAMESPACE: Final = "evolution"
CLUSTER: Final = "genetic-cluster"
CONTEXT: Final = "lab"
REDIS: Final = "gcs-redis"
"""The one pod that is not Ray's."""
NAME: Final = f"{CONTEXT}/{NAMESPACE}/{CLUSTER}"
_USAGE: Final = {
    "cpu.stat": "usage_usec 2500000\nthrottled_usec 1000\n",
    "memory.stat": "anon 1048576\nfile 5\n",
    "memory.events": "oom 0\noom_kill 0\n",
    "memory.max": "8589934592\n",
    "cpu.max": "400000 100000\n",
}


class World:
    """See the module.

    Args:
        folder: For the folders of pods.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds: dict[str, dict[str, dict[str, Any]]] = {
            "pods": {}, "networkpolicies": {}, "rayclusters": {},
        }  # fmt: skip
        self.replaces = self.becomes_ready = self.joins = self.enforces = True
        """What the operator, the kubelets, the raylets and the network do."""
        self.ray, self.jobs = ray.__version__, list[dict[str, Any]]()
        self._dead: list[dict[str, Any]] = []
        self._joined: dict[str, dict[str, Any]] = {}
        self._numbers, self.version = itertools.count(1), 100
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.oldest = 0
        self._processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.lock = threading.RLock()
        self._add_cluster()
        self.add_pod("head")
        self.add_pod("cpu")
        self.add_pod("cpu")
        self.add_pod(REDIS)

    def _add_cluster(self) -> None:
        self.kinds["rayclusters"][CLUSTER] = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": CLUSTER, "namespace": NAMESPACE},
            "spec": {
                "rayVersion": ray.__version__,
                "gcsFaultToleranceOptions": {"redisAddress": "r"},
            },
            "status": {"state": "ready", "desiredWorkerReplicas": 2},
        }

    @property
    def ray_cluster(self) -> dict[str, Any]:
        return self.kinds["rayclusters"][CLUSTER]

    def pod(self, group: str, number: int = 0) -> dict[str, Any]:
        """A pod of a group, the oldest first."""
        found = [p for p in self.kinds["pods"].values() if _group(p) == group]
        return found[number]

    def add_pod(self, group: str) -> dict[str, Any]:
        """What the operator does."""
        with self.lock:
            number = next(self._numbers)
            name, head = f"{CLUSTER}-{group}-{number:05d}", group == "head"
            limits = {"cpu": "2" if head else "4", "memory": "8Gi"}
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": NAMESPACE, "uid": f"uid-{number}",
                    "labels": _labels(group),
                },
                "spec": {"containers": [
                    {"name": f"ray-{'head' if head else 'worker'}", "resources": {"limits": limits}}
                ]},
                "status": {
                    "phase": "Pending", "podIP": f"127.0.1.{number}",
                    "startTime": f"2026-01-01T00:00:{number:02d}Z", "conditions": [],
                    "containerStatuses": [{
                        "name": "ray", "image": "i", "imageID": "i", "ready": False,
                        "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}},
                    }],
                },
            }  # fmt: skip
            self.kinds["pods"][name] = pod
            self._event("ADDED", pod)
            self._make_folders(name)
            if self.becomes_ready:
                self.make_ready(name)
            return pod

    def make_ready(self, name: str) -> None:
        """What the kubelet does; then its raylet joins."""
        with self.lock:
            pod = self.kinds["pods"][name]
            pod["status"]["phase"] = "Running"
            pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
            pod["status"]["containerStatuses"][0] |= {
                "ready": True, "state": {"running": {}},
            }  # fmt: skip
            self._event("MODIFIED", pod)
            if self.joins and _group(pod) != REDIS:
                self._joined[pod["metadata"]["uid"]] = pod

    def _make_folders(self, name: str) -> None:
        folder = self.folder / name
        (folder / "proc").mkdir(parents=True)
        (folder / "cgroup").mkdir()
        for file, text in _USAGE.items():
            (folder / "cgroup" / file).write_text(text)
        made = [
            subprocess.Popen([argv0, "600"], executable="/bin/sleep")
            for argv0 in ("ray::IDLE", "ray::evaluate", "raylet")
        ]
        for process in made:
            (folder / "proc" / str(process.pid)).symlink_to(f"/proc/{process.pid}")
        self._processes[name] = made

    def processes(self, name: str) -> list[subprocess.Popen[bytes]]:
        """Those of a pod: an idle worker, a busy one, the raylet."""
        return self._processes[name]

    def reachable(self, address: str) -> bool:
        """Whether the network leads to a pod that runs."""
        for pod in list(self.kinds["pods"].values()):
            if pod["status"]["podIP"] == address:
                return pod["status"]["phase"] == "Running" and not self._isolated(pod)
        return False

    def _isolated(self, pod: Mapping[str, Any]) -> bool:
        labels = pod["metadata"]["labels"]
        rules = [
            one["spec"].get("ingress") or []
            for one in self.kinds["networkpolicies"].values()
            if one["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
            and not any(
                one["key"] in labels
                for one in one["spec"]["podSelector"].get("matchExpressions", ())
            )
        ]
        return self.enforces and bool(rules) and not any(rules)

    def forget(self) -> None:
        """Watches can no longer go on from what was told so far."""
        with self.lock:
            self.version += 1
            self.oldest = self.version

    def _event(self, kind: str, found: dict[str, Any]) -> None:
        self.version += 1
        found["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, kind, json.loads(json.dumps(found))))
        self.told()

    def delete_pod(self, name: str) -> None:
        """The end of a pod; the operator starts the next one."""
        with self.lock:
            pod = self.kinds["pods"].pop(name)
            for process in self._processes.pop(name):
                process.kill()
                process.wait()
            self._event("DELETED", pod)
            if self._joined.pop(pod["metadata"]["uid"], None) is not None:
                self._dead.append(pod)
            if self.replaces:
                self.add_pod(_group(pod))

    def told(self) -> None:
        """Called after each change."""

    def dashboard(self, path: str) -> object:
        if path == "/api/version":
            return {"ray_version": self.ray}
        if path == "/nodes":
            with self.lock:
                rows = [_row(pod, "ALIVE") for pod in self._joined.values()]
                rows += [_row(pod, "DEAD") for pod in self._dead]
            return {"data": {"summary": rows}}
        if path == "/api/jobs/":
            return self.jobs
        return None

    def end(self) -> None:
        """End the processes."""
        for processes in self._processes.values():
            for process in processes:
                process.kill()
                process.wait()


def _labels(group: str) -> dict[str, str]:
    if group == REDIS:
        return {"app.kubernetes.io/name": group}
    kind = "head" if group == "head" else "worker"
    return {"ray.io/cluster": CLUSTER, "ray.io/group": group, "ray.io/node-type": kind}


def _group(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["labels"].get("ray.io/group", REDIS))


def _row(pod: Mapping[str, Any], state: str) -> dict[str, Any]:
    head = pod["metadata"]["labels"]["ray.io/node-type"] == "head"
    address = pod["status"]["podIP"]
    return {
        "raylet": {
            "nodeName": address,
            "nodeId": f"ray-{pod['metadata']['uid']}",
            "state": state,
            "nodeManagerAddress": address,
            "resourcesTotal": {} if head else {"CPU": 4.0},
            "isHeadNode": head,
        }
    }
