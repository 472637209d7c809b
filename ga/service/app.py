"""The application: its routes, who may use them, and its description."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ga.errors import InputError
from ga.ledger import Ledger
from ga.service.context import Context
from ga.service.database_watch import DatabaseWatch
from ga.service.event_hub import EventHub
from ga.service.event_stream import add_events
from ga.service.evolutions import add_evolutions, add_strategies
from ga.service.guards import Guards
from ga.service.job_store import JobStore
from ga.service.limits import DATABASE_SECONDS, Limits
from ga.service.middleware import BodyLimit, Counted, Metrics
from ga.service.models import Problem
from ga.service.operations import AUDIT, add_audit, add_health, add_metrics
from ga.service.problem_details import ProblemError, database_away, register
from ga.service.supervisor import Runner
from ga.service.tokens import Audit, Tokens


def make_app(
    *,
    ledger: Ledger,
    store: JobStore,
    runner: Runner,
    limits: Limits,
    token: str | Tokens,
    watch: DatabaseWatch | None = None,
    events: EventHub | None = None,
    services: Mapping[str, tuple[str, int]] = {},
    hosts: Sequence[str] | None = None,
    audit: Audit | None = None,
) -> FastAPI:
    """The application.

    Args:
        token: opens all but health, readiness and the description; one, or some with roles.
        watch: whether the database answers; by default it is asked only for readiness.
        events: what watchers of evolutions get.
        services: what it depends on, for its series (``ga.metrics.depends_on``).
        hosts: names that requests may be addressed to, see ``ga.service.guards.Guards``.
        audit: where changes are recorded.
    """
    watch = watch or DatabaseWatch(ledger.engine, seconds=DATABASE_SECONDS)
    audit = audit or Audit(None)
    context = Context(
        audit=audit,
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
        redirect_slashes=False,
    )
    register(app, watch.suspect)
    app.add_middleware(BodyLimit, most=limits.body_bytes, seconds=limits.body_seconds)
    app.add_middleware(Counted, metrics=context.metrics)
    # In the order of the description.
    tokens = Tokens(token) if isinstance(token, str) else token
    locked = [Depends(_authorised(tokens, audit, limits.request_rate)), Depends(_only_known)]
    stored = [*locked, Depends(_available(watch))]
    for add, dependencies in (
        (add_evolutions, stored),
        (add_events, stored),
        (add_strategies, stored),
        (add_health, []),
        (add_metrics, locked),
        (add_audit, locked),
    ):
        routes = APIRouter(dependencies=dependencies)
        add(routes, context)
        app.include_router(routes)
    _describe_problems(app)
    # The outermost.
    app.add_middleware(Guards, routes=app.routes, hosts=hosts)
    return app


def _authorised(
    tokens: Tokens, audit: Audit, rate: float
) -> Callable[[Request, HTTPAuthorizationCredentials | None], AsyncIterator[None]]:
    """A dependency that refuses who does not give a token of the needed role, or asks too often.

    What changes something is recorded, also when it is refused to the owner of a token.
    """

    async def authorised(
        request: Request,
        given: Annotated[
            HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))
        ],
    ) -> AsyncIterator[None]:
        holder = None if given is None else tokens.holder(given.credentials)
        if holder is None:
            detail = "give the service's token: Authorization: Bearer TOKEN"
            raise ProblemError(401, detail, {"WWW-Authenticate": "Bearer"})
        path = request.url.path
        admin = path == AUDIT
        role = "admin" if admin else "read" if request.method == "GET" else "submit"
        about = {
            "token": holder.name,
            "role": holder.role,
            "client": request.client.host if request.client else None,
            "method": request.method,
            "path": path,
        }
        if not holder.may(role):
            audit.add(**about, outcome="forbidden")
            raise ProblemError(403, f"the role {holder.role} does not allow this; it needs {role}")
        if not holder.admitted(rate):
            raise ProblemError(429, "too many requests with this token", {"Retry-After": "1"})
        if role == "read":
            yield
            return
        try:
            yield
        except BaseException as error:
            refused = isinstance(error, InputError | RequestValidationError)
            outcome = 422 if refused else getattr(error, "status", type(error).__name__)
            audit.add(**about, outcome=outcome)
            raise
        audit.add(**about, outcome="done", run=getattr(request.state, "run", None))

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
