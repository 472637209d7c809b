"""The routes for who operates the service: health, readiness and metrics."""

from __future__ import annotations

from typing import Annotated, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ga.service.context import Context
from ga.service.models import AuditEntries, Health
from ga.service.problem_details import ProblemError, described

AUDIT: Final = "/v1/audit"
READY_SECONDS: Final = 2.0
"""Seconds that a readiness check waits for the database."""
_READY_THREADS: Final = 4


def add_health(routes: APIRouter, context: Context) -> None:
    """Routes that need no token."""

    @routes.get("/healthz", operation_id="getHealth", response_model=Health)
    async def health() -> Health:
        """The process answers."""
        return Health(status="ok")

    # Its own threads: those of requests may all be waiting for the database.
    threads = anyio.CapacityLimiter(_READY_THREADS)

    @routes.get(
        "/readyz", operation_id="getReadiness", response_model=Health, responses=described(503)
    )
    async def ready() -> Health:
        """The database answers, and evolutions are being looked after."""
        why = context.watch.away or await anyio.to_thread.run_sync(
            context.watch.ask, READY_SECONDS, limiter=threads
        )
        if why is not None:
            raise ProblemError(503, f"the database does not answer: {why}", {"Retry-After": "1"})
        if not context.runner.alive:
            raise ProblemError(503, context.runner.trouble)
        return Health(status="ok")


def add_audit(routes: APIRouter, context: Context) -> None:
    """Who changed what."""

    @routes.get(
        AUDIT,
        operation_id="listAudit",
        response_model=AuditEntries,
        responses=described(401, 403, 422, 429),
    )
    async def audited(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> AuditEntries:
        """The newest changes and refused changes since the start, newest first."""
        return AuditEntries.model_validate({"entries": context.audit.newest(limit)})


def add_metrics(routes: APIRouter, context: Context) -> None:
    """The series of the service."""

    @routes.get(
        "/metrics",
        operation_id="getMetrics",
        response_class=PlainTextResponse,
        responses=described(401, 403, 429, 503),
    )
    def metrics() -> Response:
        """The service's series for Prometheus."""
        return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)
