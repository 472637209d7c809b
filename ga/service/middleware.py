"""Middleware of all requests: limit of the body, and metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ga.errors import LedgerError
from ga.metrics import Reachable
from ga.service.database_watch import ERRORS, DatabaseWatch
from ga.service.job_store import JobStore
from ga.service.problem_details import problem

_NAME: Final = "service"
"""Value of the label ``run`` for the service's own series."""
_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)


class BodyLimit:
    """Refuses a body of more than ``most`` bytes with 413, with or without a Content-Length, and
    one that takes more than ``seconds`` with 408.
    """

    def __init__(self, app: ASGIApp, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then pass the request on."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._whole(receive)
        except _LeftError:
            return
        except (TimeoutError, _TooLongError) as error:
            if isinstance(error, TimeoutError):
                answer = problem(408, f"the body took more than {self._seconds:g} s")
            else:
                answer = problem(413, f"the body is over {self._most:,} bytes")
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def replay() -> Message:
            nonlocal whole
            if whole is not None:
                message, whole = whole, None
                return message
            return await receive()

        await self._app(scope, replay, send)

    async def _whole(self, receive: Receive) -> bytes:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _LeftError
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                raise _TooLongError
        return body


class _LeftError(Exception):
    """The client has gone."""


class _TooLongError(Exception):
    """The body is too long."""


class Metrics:
    """The service's series in a separate registry.

    Args:
        services: services that it depends on, see ``Reachable``.
    """

    def __init__(
        self, store: JobStore, watch: DatabaseWatch, services: Mapping[str, tuple[str, int]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Jobs(store, watch))
        self.registry.register(Reachable(_NAME, services))
        labels = ["method", "route", "status"]
        text = "Requests that were answered."
        self.requests = Counter("ga_service_requests", text, labels, registry=self.registry)
        text = "From a request to the first of its answer."
        self.seconds = Histogram(
            "ga_service_seconds",
            text,
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        text = "Open streams of events."
        self.watchers = Gauge("ga_service_watchers", text, registry=self.registry)


class _Jobs(Collector):
    """Collector that counts jobs at each scrape, so that it matches the database."""

    def __init__(self, store: JobStore, watch: DatabaseWatch) -> None:
        self._store, self._watch = store, watch

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Describe the series without a database query."""
        yield GaugeMetricFamily("ga_service_evolutions", "Accepted evolutions.", labels=["state"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "ga_service_evolutions", "Accepted evolutions.", labels=["state"]
        )
        # Unknown values have no sample; ga_reachable shows that the database is unreachable.
        if self._watch.away is not None:
            return
        try:
            counts = self._store.counts()
        except ERRORS:
            self._watch.suspect()
            return
        except LedgerError:
            # A state is damaged; a request for evolutions gets the error.
            return
        for state, count in sorted(counts.items()):
            family.add_metric([state], count)
        yield family


class Counted:
    """Counts and times every request by its route, which limits the number of labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count it when the answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if route != "none" else "any"
                self._metrics.seconds.labels(method, route).observe(time.perf_counter() - began)
                self._metrics.requests.labels(method, route, message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counting)
