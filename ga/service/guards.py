"""What every request and answer goes through first: host, method, path, and headers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Sequence
from typing import Any, Final

from fastapi import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ga.service.problem_details import ProblemError, problem

_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


class Guards:
    """Refuses other hosts, answers HEAD and OPTIONS, redirects from a last slash, adds headers.

    Args:
        routes: the application's routes, for the methods that a path has.
        hosts: names that requests may be addressed to, besides ``localhost`` and any IP address;
            None: every name. A page of another site can make its own name lead here, but not an
            address (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, routes: Sequence[BaseRoute], hosts: Sequence[str] | None
    ) -> None:
        self._app, self._routes = app, routes
        self._hosts = None if hosts is None else {"localhost", *(one.lower() for one in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message = {**message, "headers": given + [h for h in _HEADERS if h[0] not in names]}
            await send(message)

        path, method = scope["path"], scope["method"]
        if not self._known(scope):
            answer = problem(421, "this host name is not served here; see --allowed-host")
            await answer(scope, receive, sealed)
        elif method == "OPTIONS":
            await self._options(scope, receive, sealed)
        elif path != "/" and path.endswith("/"):
            # Relative, and to this server only: //other would be another one.
            answer = problem(308, "without the last slash")
            raw = scope.get("raw_path", path.encode()).decode("ascii", "replace").partition("?")[0]
            query = scope["query_string"].decode("ascii", "replace")
            where = "/" + raw.strip("/") + (f"?{query}" if query else "")
            answer.headers["Location"] = where
            await answer(scope, receive, sealed)
        elif method == "HEAD":
            await self._head(scope, sealed)
        else:
            await self._app(scope, receive, sealed)

    def _known(self, scope: Scope) -> bool:
        if self._hosts is None:
            return True
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:
            return False
        host = given[0].decode("latin-1").lower()
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return host.rstrip(".") in self._hosts
        return True

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods: set[str] = set()
        for route in self._routes:
            for method in ("GET", "POST", "DELETE"):
                if route.matches({**scope, "method": method})[0] == Match.FULL:
                    methods.add(method)
        if not methods:
            await problem(404, "Not Found")(scope, receive, send)
            return
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        headers = [(b"allow", ", ".join(sorted(methods)).encode())]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _head(self, scope: Scope, send: Send) -> None:
        """Answer as to GET, without the body; of a stream of events, only its begin."""
        over, asked = asyncio.Event(), False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await over.wait()
            return {"type": "http.disconnect"}

        async def headless(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                over.set()

        await self._app({**scope, "method": "GET"}, receive, headless)


async def plain_json(request: Request) -> None:
    """A dependency that refuses a body that others could read differently: JSON must be in UTF-8,
    without a byte order mark, without repeated keys, and without numbers that are none.
    """
    body = await request.body()
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ProblemError(422, "body: must be JSON in UTF-8") from None
    if text.startswith("\ufeff") or "\0" in text:
        raise ProblemError(422, "body: must be JSON in UTF-8 without a byte order mark")
    try:
        json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except ValueError:
        # Not JSON at all: the route's own answer.
        return


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ProblemError(422, "body: a key is repeated")
    return found


def _no_number(name: str) -> None:
    raise ProblemError(422, f"body: {name} is not JSON")
