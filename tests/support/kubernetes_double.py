"""A Kubernetes API on loopback before a ``World``, and Ray's dashboard at the same address.

It answers list, watch, create, patch, delete, exec, and what is allowed. Bodies are held to the
schemas of the official client, which are generated from the published ones. A request can be
denied, or fail as often as a test says. An exec runs the real program on this machine, with the
folders of the pod in the place of the machine's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from kubernetes import client
from pydantic import ValidationError

from tests.support.kubernetes_world import CONTEXT, NAMESPACE, World


@dataclass
class Failure:
    """What some requests are answered instead."""

    method: str
    path: str
    """A part of it."""
    status: int
    """0: there is no answer."""
    times: int = 1
    after: bool = False
    """The request has its effect all the same."""


class Cluster(World):
    """See the module.

    Args:
        folder: For the folders of pods and the kubeconfig.
    """

    def __init__(self, folder: Path) -> None:
        self.log: list[tuple[str, str, Any]] = []
        """Every request to the API: method, path, body."""
        self.denied: set[tuple[str, str]] = set()
        """Verb and resource, as ``("create", "pods/exec")``."""
        self.failures: list[Failure] = []
        self.on_watch: Callable[[], object] = bool
        """Called when a watch begins."""
        self._changed, self._loop = asyncio.Event(), asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,))
        self._thread.start()
        started.wait()
        super().__init__(folder)

    def told(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """What listens where Ray's control service would."""
        return f"127.0.0.1:{self.port}"

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Requests that can change the cluster; the question what is allowed changes nothing."""
        return [
            (method, path)
            for method, path, _ in self.log
            if path.endswith("/exec")
            or (method != "GET" and "selfsubjectaccessreviews" not in path)
        ]

    def kubeconfig(self) -> Path:
        def context(name: str, namespace: str) -> dict[str, Any]:
            where = {"cluster": "here", "user": "me", "namespace": namespace}
            return {"name": name, "context": where}

        path = self.folder / "kubeconfig"
        content = {
            "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT,
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": "t0ken"}}],
            "contexts": [context(CONTEXT, NAMESPACE), context("arn:x/y", "empty")],
        }  # fmt: skip
        path.write_text(yaml.safe_dump(content))
        return path

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.0)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.port = int(self._runner.addresses[0][1])
        started.set()
        self._loop.run_forever()
        # Watches, and requests that are never answered.
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if (told := self.dashboard(path)) is not None:
            return web.json_response(told)
        body = await request.json() if request.can_read_body else None
        self.log.append((request.method, path, body))
        failure = next(
            (f for f in self.failures if f.times and f.method == request.method and f.path in path),
            None,
        )
        if failure is not None:
            failure.times -= 1
            if failure.after:
                await self._routed(request, path, body)
            if failure.status == 0:
                await asyncio.sleep(60)
            return _status(failure.status, "a failure of the test")
        return await self._routed(request, path, body)

    async def _routed(self, request: web.Request, path: str, body: Any) -> web.StreamResponse:
        if path.endswith("/selfsubjectaccessreviews"):
            review = client.V1SelfSubjectAccessReview.model_validate(body)
            asked = review.spec.resource_attributes
            assert asked is not None
            what = "/".join(filter(None, (asked.resource, asked.subresource)))
            allowed = (asked.verb, what) not in self.denied
            return web.json_response({**body, "status": {"allowed": allowed}}, status=201)
        place, _, rest = path.partition("/namespaces/")[2].partition("/")
        kind, _, rest = rest.partition("/")
        name, _, sub = rest.partition("/")
        known = self.kinds.get(kind)
        if known is None or place not in (NAMESPACE, "empty"):
            return _status(404, "the server could not find the requested resource")
        verb = _verb(request, name)
        if (verb, f"{kind}/{sub}" if sub else kind) in self.denied:
            return _status(403, f"{kind} is forbidden: User me cannot {verb}")
        if place == "empty":
            known = {}
        if verb == "watch":
            return await self._watch(request)
        if sub == "exec":
            return await self._exec(request, name)
        try:
            with self.lock:
                return self._object(verb, known, name, sub, request, body)
        except ValidationError as error:
            return _status(422, str(error))

    def _object(
        self, verb: str, known: dict[str, dict[str, Any]], name: str, sub: str,
        request: web.Request, body: Any,
    ) -> web.StreamResponse:  # fmt: skip
        if verb == "list":
            found = [one for one in known.values() if _selected(request, one)]
            meta = {"resourceVersion": str(self.version)}
            return web.json_response({"items": found, "metadata": meta})
        if verb == "create":
            made = client.V1NetworkPolicy.model_validate(body)
            if made.metadata is None or made.metadata.name in known:
                return _status(409, "already exists")
            known[str(made.metadata.name)] = body
            return web.json_response(body, status=201)
        if name not in known:
            return _status(404, f"{name} not found")
        found_one = known[name]
        if sub == "log":
            return web.Response(body=f"log of {name}".encode())
        if verb == "patch":
            labels = {key: value or "" for key, value in body["metadata"]["labels"].items()}
            client.V1ObjectMeta.model_validate({"labels": labels})
            for key, value in body["metadata"]["labels"].items():
                found_one["metadata"]["labels"][key] = value
                if value is None:
                    del found_one["metadata"]["labels"][key]
            self._event("MODIFIED", found_one)
        elif verb == "delete":
            options = client.V1DeleteOptions.model_validate(body or {})
            wanted = options.preconditions and options.preconditions.uid
            if wanted and wanted != found_one["metadata"]["uid"]:
                return _status(409, "the UID in the precondition does not match")
            if known is self.kinds["pods"]:
                self.delete_pod(name)
            else:
                del known[name]
        return web.json_response(found_one)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        since = int(request.query["resourceVersion"])
        if since < self.oldest:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
            await answer.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return answer
        self.on_watch()
        until = self._loop.time() + float(request.query["timeoutSeconds"])
        while (left := until - self._loop.time()) > 0:
            self._changed.clear()
            with self.lock:
                due = [one for one in self.events if one[0] > since]
            since = max((number for number, _, _ in due), default=since)
            for _, kind, found in (one for one in due if _selected(request, one[2])):
                line = json.dumps({"type": kind, "object": found})
                await answer.write(line.encode() + b"\n")
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                break
        return answer

    async def _exec(self, request: web.Request, name: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["v4.channel.k8s.io"])
        await socket.prepare(request)
        python, *argv = request.query.getall("command")
        assert python == "python"
        own = {"/proc": "proc", "/sys/fs/cgroup": "cgroup"}
        argv = [str(self.folder / name / own[word]) if word in own else word for word in argv]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        await socket.send_bytes(b"\x01" + out)
        ended: dict[str, Any] = {"metadata": {}, "status": "Success"}
        if process.returncode:
            cause = {"reason": "ExitCode", "message": str(process.returncode)}
            ended = {
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "details": {"causes": [cause]},
            }
        await socket.send_bytes(b"\x03" + json.dumps(ended).encode())
        await socket.close()
        return socket

    def end(self) -> None:
        """Remove everything."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        super().end()


def _verb(request: web.Request, name: str) -> str:
    if request.method != "GET":
        return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[request.method]
    if name:
        return "get"
    return "watch" if request.query.get("watch") in ("true", "True") else "list"


def _selected(request: web.Request, found: Mapping[str, Any]) -> bool:
    labels = (found["metadata"].get("labels") or {}).items()
    selector = request.query.get("labelSelector", "")
    return all(tuple(one.split("=", 1)) in labels for one in filter(None, selector.split(",")))


def _status(code: int, message: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "message": message,
    }
    return web.json_response(body, status=code)
