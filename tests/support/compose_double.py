"""A Compose project without Docker: the engine's API as the gate uses it, and Ray's dashboard.

A container is a real process, so that a kill is one. Its end is noticed when the container is read
again: then the restart policy starts the next one, as the engine's would.
"""

from __future__ import annotations

import copy
import http.server
import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import docker.errors
import ray

from evolution_gate.fixtures.images import SOURCE, source_hash

NAME: Final = "evolution-gate"
NETWORK: Final = f"{NAME}_genetic-cluster"
WORKER: Final = f"{NAME}-ray-worker-cpu-1"


@dataclass
class Container:
    """One container of the Docker SDK."""

    service: str
    number: int
    address: str
    policy: str = "unless-stopped"
    ports: dict[str, Any] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    cpus: int = 0
    head: bool = False
    health: str = "healthy"
    removed: bool = False
    restarting: bool = False
    """It waits for its restart: the engine says that it runs."""
    done: bool = False
    """It has done its task, as one that prepares volumes."""
    calls: list[str] = field(default_factory=list)
    """What was done to it."""
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = f"{NAME}-{self.service}-{self.number}"
        self.id = f"{self.name:x<64}".replace("-", "")
        self.short_id = self.id[:10]
        self.image = SimpleNamespace(labels={SOURCE: source_hash()})
        self.labels |= {
            "com.docker.compose.project": NAME,
            "com.docker.compose.service": self.service,
        }
        self.restarts, self.starts, self.paused = 0, 0, False
        self.stopped = self.registered = True
        self.given_up = True
        """The head notices the end of an incarnation at once."""
        self.joins_again = False
        """Its next start joins the cluster, whatever became of this one."""
        self.process: subprocess.Popen[bytes] | None = None
        self.networks: dict[str, Any] = {
            NETWORK: {"IPAddress": self.address, "Aliases": [self.service, self.id[:12]]}
        }
        self.attrs: dict[str, Any] = {}
        if not self.done:
            self._begin()
        self.reload()

    def _begin(self) -> None:
        self.process = subprocess.Popen(["sleep", "600"])
        self.starts, self.stopped = self.starts + 1, False
        self.registered = self.registered or self.joins_again

    def _ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def reload(self) -> None:
        if self.removed:
            raise docker.errors.NotFound("no such container")
        if self._ended() and not self.stopped and self.policy != "no":
            self._begin()
            self.restarts += 1
        running = not self._ended()
        assert running or self.process is None or self.process.returncode is not None
        self.attrs = {
            "State": {
                "Running": running,
                "Paused": self.paused,
                "Restarting": self.restarting,
                "Status": "restarting" if self.restarting else "running" if running else "exited",
                "ExitCode": 0 if self.done or running else 137,
                "Pid": self.process.pid if running and self.process is not None else 0,
                "StartedAt": f"start {self.starts}",
                "Health": {"Status": self.health},
            },
            "RestartCount": self.restarts,
            "Image": "sha256:engine",
            "Config": {"Env": list(self.env)},
            "HostConfig": {
                "RestartPolicy": {"Name": self.policy},
                "NanoCpus": 10**9,
                "Memory": 2 * 1024**3,
                "Init": True,
            },
            "NetworkSettings": {"Ports": self.ports, "Networks": self.networks},
        }

    def exec_run(self, argv: list[str], **_: object) -> tuple[int, bytes]:
        if argv[0] != "cat":
            self.calls.append(" ".join(argv))
            return 0, b""
        found = self.files.get(argv[1])
        return (1, b"") if found is None else (0, found.encode())

    def top(self) -> dict[str, list[list[str]]]:
        pid = self.attrs["State"]["Pid"]
        return {"Processes": [["root", str(pid)]]}

    def logs(self, **_: object) -> bytes:
        return b"its last lines"

    def pause(self) -> None:
        self.calls.append("pause")
        self.paused = True

    def unpause(self) -> None:
        self.calls.append("unpause")
        self.paused = False

    def stop(self) -> None:
        self.calls.append("stop")
        self.stopped = True
        self.end()

    def start(self) -> None:
        self.calls.append("start")
        self._begin()

    def kill(self, _signal: str) -> None:
        """Counts as an operator's wish: nothing is started again."""
        self.stopped = True
        self.end()

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def row(self) -> dict[str, Any]:
        """What Ray's head tells of its node; another id after each start."""
        self.reload()
        alive = self.registered and self.attrs["State"]["Running"] and not self.paused
        return {
            "raylet": {
                "nodeName": self.address,
                "nodeId": f"{self.service}{self.number}@{self.starts if self.given_up else 1}",
                "state": "ALIVE" if alive and self.networks else "DEAD",
                "nodeManagerAddress": self.address,
                "resourcesTotal": {"CPU": float(self.cpus)} if self.cpus else {},
                "isHeadNode": self.head,
            }
        }


class Network:
    """The project's network."""

    name = NETWORK

    def __init__(self) -> None:
        self.joined: list[tuple[str, str | None, tuple[str, ...]]] = []

    def disconnect(self, container: Container) -> None:
        container.networks = {}
        container.reload()

    def connect(
        self, container: Container, *, ipv4_address: str | None, aliases: list[str]
    ) -> None:
        self.joined.append((container.name, ipv4_address, tuple(aliases)))
        address = ipv4_address or container.address
        container.networks = {NETWORK: {"IPAddress": address, "Aliases": aliases}}
        container.reload()


class Engine:
    """A Docker engine with the project of ``ga cluster up``, and Ray's dashboard on loopback."""

    def __init__(self) -> None:
        self.version, self.jobs = ray.__version__, list[dict[str, Any]]()
        self.network, self.closed = Network(), 0
        self.listed = ["127.0.0.2:44217", "127.0.0.2:9101", "127.0.0.3:9101", "127.0.0.9:9101"]
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = outer.answer(self.path)
                self.send_response(200 if answer is not None else 404)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        port = str(self._server.server_port)
        self.published: dict[str, Any] = {"8265/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]}
        token = ("RAY_AUTH_TOKEN_PATH=/run/secrets/ray_token",)
        secret = {"/run/secrets/ray_token": "t0ken\n"}
        make: Callable[..., Container] = Container
        self.all = [
            make("volumes", 1, "", policy="no", done=True),
            make("ray-head", 1, "127.0.0.2", head=True, ports=self.published, env=token,
                 files=secret),
            make("ray-worker-cpu", 1, "127.0.0.3", cpus=1),
            make("ray-worker-cpu", 2, "127.0.0.4", cpus=1),
            make("genetic-pool", 1, "127.0.0.5"),
            make("redis", 1, "127.0.0.6", files={"/run/secrets/redis_password": "p/w"},
                 ports={"6379/tcp": [{"HostIp": "", "HostPort": "16379"}]}),
            make("prometheus", 1, "127.0.0.7", files={"/run/secrets/monitoring_password": "p@ss"},
                 ports={"9090/tcp": [{"HostIp": "", "HostPort": "19090"}]}),
        ]  # fmt: skip
        self.containers = SimpleNamespace(list=self.list)
        self.networks = SimpleNamespace(get=lambda _: self.network)

    def list(
        self, *, all: bool, filters: dict[str, str], sparse: bool = False
    ) -> list[Container] | list[SimpleNamespace]:
        """With ``sparse`` new objects that have only what the list of the engine's API has."""
        assert all
        wanted = filters["label"].partition("=")[2]
        found = [c for c in self.all if c.labels["com.docker.compose.project"] == wanted]
        if not sparse:
            return found
        return [
            SimpleNamespace(
                id=one.id, attrs={"NetworkSettings": {"Networks": copy.deepcopy(one.networks)}}
            )
            for one in found
            if not one.removed
        ]

    def one(self, service: str, number: int = 1) -> Container:
        return next(c for c in self.all if (c.service, c.number) == (service, number))

    @property
    def calls(self) -> list[str]:
        """Everything that was done to any container."""
        return [call for container in self.all for call in container.calls]

    def answer(self, path: str) -> object:
        if path.startswith("/api/version"):
            return {"ray_version": self.version}
        if path.startswith("/nodes"):
            rays = [c for c in self.all if c.cpus or c.head or c.service == "genetic-pool"]
            return {"data": {"summary": [c.row() for c in rays]}}
        if path.startswith("/api/jobs"):
            return self.jobs
        if path.startswith("/api/prometheus/sd"):
            return [{"labels": {}, "targets": self.listed}]
        return None

    def close(self) -> None:
        """What the SDK's client does: nothing of the project ends."""
        self.closed += 1

    def end(self) -> None:
        """Remove everything."""
        for container in self.all:
            container.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
