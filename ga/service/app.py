"""The application: its routes, who may use them, and its description."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ga.ledger import Ledger
from ga.service.context import Context
from ga.service.database_watch import DatabaseWatch
from ga.service.event_hub import EventHub
from ga.service.event_stream import add_events
from ga.service.evolutions import add_evolutions, add_strategies
from ga.service.job_store import JobStore
from ga.service.limits import DATABASE_SECONDS, Limits
from ga.service.middleware import BodyLimit, Counted, Metrics
from ga.service.models import Problem
from ga.service.operations import add_health, add_metrics
from ga.service.problem_details import ProblemError, database_away, register
from ga.service.supervisor import Runner


def make_app(
    *,
    ledger: Ledger,
    store: JobStore,
    runner: Runner,
    limits: Limits,
    token: str,
    watch: DatabaseWatch | None = None,
    events: EventHub | None = None,
    services: Mapping[str, tuple[str, int]] = {},
) -> FastAPI:
    """The application.

    Args:
        token: opens all but health, readiness and the description.
        watch: whether the database answers; by default it is asked only for readiness.
        events: what watchers of evolutions get.
        services: what it depends on, for its series (``ga.metrics.depends_on``).
    """
    watch = watch or DatabaseWatch(ledger.engine, seconds=DATABASE_SECONDS)
    context = Context(
        ledger=ledger,
        store=store,
        runner=runner,
        watch=watch,
        events=events or EventHub(store, watch),
        limits=limits,
        metrics=Metrics(store, watch, services),
    )
    app = FastAPI(
        title="evolution-gate",
        version="1",
        description="Evolves trading strategies. Every error is a problem document (RFC 9457).",
        docs_url=None,
        redoc_url=None,
    )
    register(app, watch.suspect)
    app.add_middleware(BodyLimit, most=limits.body_bytes, seconds=limits.body_seconds)
    app.add_middleware(Counted, metrics=context.metrics)
    # In the order of the description.
    locked = [Depends(_authorised(token)), Depends(_only_known)]
    stored = [*locked, Depends(_available(watch))]
    for add, dependencies in (
        (add_evolutions, stored),
        (add_events, stored),
        (add_strategies, stored),
        (add_health, []),
        (add_metrics, locked),
    ):
        routes = APIRouter(dependencies=dependencies)
        add(routes, context)
        app.include_router(routes)
    _describe_problems(app)
    return app


def _authorised(token: str) -> Callable[[HTTPAuthorizationCredentials | None], None]:
    """A dependency that refuses who does not give the token."""
    wanted = _digest(token)

    def authorised(
        given: Annotated[
            HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))
        ],
    ) -> None:
        # Digests have one length, so the time says nothing of the token's either.
        if given is None or not hmac.compare_digest(_digest(given.credentials), wanted):
            detail = "give the service's token: Authorization: Bearer TOKEN"
            raise ProblemError(401, detail, {"WWW-Authenticate": "Bearer"})

    return authorised


def _available(watch: DatabaseWatch) -> Callable[[], Awaitable[None]]:
    """A dependency that refuses at once while the database is away."""

    async def available() -> None:
        if watch.away is not None:
            raise database_away()

    return available


def _only_known(request: Request) -> None:
    """A parameter that is misspelt is refused, not left out of account."""
    route: APIRoute = request.scope["route"]
    known = {parameter.alias for parameter in route.dependant.query_params}
    if unknown := sorted(set(request.query_params) - known):
        raise ProblemError(422, f"query.{unknown[0]}: no such parameter")


def _describe_problems(app: FastAPI) -> None:
    """Put ``Problem`` into the description, which the routes refer to."""
    plain = app.openapi

    def openapi() -> dict[str, object]:
        found = plain()
        found["components"]["schemas"].setdefault("Problem", Problem.model_json_schema())
        return found

    app.openapi = openapi  # type: ignore[method-assign]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
