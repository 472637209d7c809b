"""The routes for who operates the service: health, readiness and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ga.service.context import Context
from ga.service.models import Health
from ga.service.problem_details import ProblemError, described


def add_health(routes: APIRouter, context: Context) -> None:
    """Routes that need no token."""

    @routes.get("/healthz", response_model=Health)
    async def health() -> Health:
        """The process answers."""
        return Health(status="ok")

    @routes.get("/readyz", response_model=Health, responses=described(503))
    def ready() -> Health:
        """The database answers, and evolutions are being looked after."""
        context.store.counts()
        if not context.runner.alive:
            raise ProblemError(503, "the job supervisor is not running; restart the service")
        return Health(status="ok")


def add_metrics(routes: APIRouter, context: Context) -> None:
    """The series of the service."""

    @routes.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses=described(401, 503),
    )
    def series() -> Response:
        """The service's series for Prometheus."""
        return Response(generate_latest(context.metrics.registry), media_type=CONTENT_TYPE_LATEST)
