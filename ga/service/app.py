"""The routes. Handlers that ask the database are plain functions: they run in threads, and the
loop stays quick."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Receive, Scope, Send

from ga.cli.runs import sharpe_row, strategy_row
from ga.errors import InputError
from ga.families import get_family
from ga.ledger import Ledger
from ga.service.job_store import ConflictError, FullError, Job, JobStore
from ga.service.limits import Limits
from ga.service.middleware import BodyLimit, Counted, Metrics
from ga.service.models import (
    OPEN,
    Event,
    EvolutionRequest,
    Evolutions,
    EvolutionState,
    Health,
    Problem,
    State,
    Strategies,
    Strategy,
)
from ga.service.problem_details import ProblemError, described, register
from ga.service.supervisor import Runner
from ga.sources.selection import parse_selection

_POLL: Final = 0.25
_KEEP_ALIVE: Final = 10.0
"""Seconds without an event after which a comment is sent, so that no proxy closes the stream."""

RunId = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
Limit = Annotated[int, Query(ge=1, le=100)]


def make_app(
    *,
    ledger: Ledger,
    store: JobStore,
    runner: Runner,
    limits: Limits,
    token: str,
    services: Mapping[str, tuple[str, int]] = {},
) -> FastAPI:
    """The application.

    Args:
        token: opens all but health, readiness and the description.
        services: what it depends on, for its series (``ga.metrics.depends_on``).
    """
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

    metrics = Metrics(store, services)
    app = FastAPI(
        title="evolution-gate",
        version="1",
        description="Evolves trading strategies. Every error is a problem document (RFC 9457).",
        docs_url=None,
        redoc_url=None,
    )
    register(app)
    app.add_middleware(BodyLimit, most=limits.body_bytes)
    app.add_middleware(Counted, metrics=metrics)
    locked = [Depends(authorised), Depends(_only_known)]

    def job_of(run: str) -> Job:
        job = store.get(run)
        if job is None:
            raise ProblemError(404, f"no evolution {run}")
        return job

    @app.post(
        "/v1/evolutions",
        status_code=202,
        response_model=EvolutionState,
        dependencies=locked,
        responses={
            200: {"model": EvolutionState, "description": "Submitted before with this key"},
            **described(400, 401, 409, 413, 422, 429, 503),
        },
    )
    def submit(
        request: EvolutionRequest,
        response: Response,
        idempotency_key: Annotated[str, Header(pattern=r"^[\x21-\x7e]{1,200}$")],
    ) -> EvolutionState:
        """Submit an evolution. 202: it is stored, and will be evolved whatever happens to the
        service. The same key and body again give the same evolution."""
        _check(request, limits)
        try:
            body = request.model_dump(mode="json")
            run, new = store.accept(idempotency_key, body, most=limits.queued)
        except ConflictError:
            detail = "this Idempotency-Key was used with another body; take a new one"
            raise ProblemError(409, detail) from None
        except FullError:
            detail = f"{limits.queued} evolutions have not ended yet; try again later"
            raise ProblemError(429, detail, {"Retry-After": "10"}) from None
        response.headers["Location"] = f"/v1/evolutions/{run}"
        if new:
            runner.wake()
        else:
            response.status_code = 200
        return _state(job_of(run))

    @app.get(
        "/v1/evolutions",
        response_model=Evolutions,
        dependencies=locked,
        responses=described(401, 422, 503),
    )
    def listed(limit: Limit = 20, state: State | None = None) -> Evolutions:
        """Accepted evolutions, newest first."""
        return Evolutions(evolutions=[_state(job) for job in store.newest(limit, state)])

    @app.get(
        "/v1/evolutions/{run}",
        response_model=EvolutionState,
        dependencies=locked,
        responses=described(401, 404, 422, 503),
    )
    def shown(run: RunId) -> EvolutionState:
        """One evolution."""
        return _state(job_of(run))

    @app.delete(
        "/v1/evolutions/{run}",
        response_model=EvolutionState,
        dependencies=locked,
        responses=described(401, 404, 409, 413, 422, 503),
    )
    def cancel(run: RunId) -> EvolutionState:
        """Cancel an evolution that has not ended; what it has in the ledger stays."""
        job = job_of(run)
        if not store.move(run, "cancelled") and job_of(run).state != "cancelled":
            raise ProblemError(409, f"evolution {run} has ended: {job_of(job.run).state}")
        runner.wake()
        return _state(job_of(run))

    @app.get(
        "/v1/evolutions/{run}/events",
        dependencies=locked,
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": Event.model_json_schema()}},
                "description": "An event `generation` for each, its number as id; then `end`",
            },
            **described(401, 404, 422, 429, 503),
        },
    )
    async def events(
        run: RunId,
        last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,9}$")] = "",
    ) -> StreamingResponse:
        """Watch an evolution: its generations so far, and each new one; goes on after
        Last-Event-ID."""
        await run_in_threadpool(job_of, run)
        # Nothing else runs between the look and the count.
        if watching[0] >= limits.watchers:
            raise ProblemError(429, f"{limits.watchers} streams are open; try again later")
        watching[0] += 1
        metrics.watchers.inc()
        after = int(last_event_id) if last_event_id else -1
        return _Stream(watched(run, after), left)

    def left() -> None:
        watching[0] -= 1
        metrics.watchers.dec()

    watching = [0]

    async def watched(run: str, after: int) -> AsyncIterator[str]:
        quiet = 0.0
        while True:
            # The state first: what it had committed when it ended is then in the events.
            job = await run_in_threadpool(store.get, run)
            for event in await run_in_threadpool(store.events, run, after):
                after, quiet = event.generation, 0.0
                yield _event("generation", asdict(event), str(after))
            if job is None or job.state not in OPEN:
                state = None if job is None else _state(job).model_dump(mode="json")
                yield _event("end", state, None)
                return
            await asyncio.sleep(_POLL)
            quiet += _POLL
            if quiet >= _KEEP_ALIVE:
                quiet = 0.0
                yield ": waiting\n\n"

    @app.get(
        "/v1/evolutions/{run}/strategies",
        response_model=Strategies,
        dependencies=locked,
        responses=described(401, 404, 422, 503),
    )
    def strategies(run: RunId, limit: Limit = 20) -> Strategies:
        """The best strategies of an evolution so far."""
        job_of(run)
        found = ledger.strategies(run, limit)
        rows = [{**strategy_row(one), **sharpe_row(one)} for one in found]
        return Strategies(strategies=[Strategy.model_validate(row) for row in rows])

    @app.get(
        "/v1/evolutions/{run}/strategies/{key}",
        response_model=Strategy,
        dependencies=locked,
        responses=described(401, 404, 422, 503),
    )
    def strategy(run: RunId, key: Annotated[str, Path(pattern="^[0-9a-f]{8,64}$")]) -> Strategy:
        """One strategy by its key, or by the first eight letters of it."""
        job_of(run)
        for one in ledger.strategies(run, 100):
            if one.outcome.key.startswith(key):
                return Strategy.model_validate({**strategy_row(one), **sharpe_row(one)})
        raise ProblemError(404, f"no strategy {key} among the 100 best of {run}")

    @app.get("/healthz", response_model=Health)
    async def health() -> Health:
        """The process answers."""
        return Health(status="ok")

    @app.get("/readyz", response_model=Health, responses=described(503))
    def ready() -> Health:
        """The database answers, and evolutions are being looked after."""
        store.counts()
        if not runner.alive:
            raise ProblemError(503, "the job supervisor is not running; restart the service")
        return Health(status="ok")

    @app.get(
        "/metrics",
        dependencies=locked,
        response_class=PlainTextResponse,
        responses=described(401, 503),
    )
    def series() -> Response:
        """The service's series for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    _describe_problems(app)
    return app


class _Stream(StreamingResponse):
    """Events; ``left`` is called when they are over, or nobody listens any more."""

    def __init__(self, events: AsyncIterator[str], left: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()


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


def _check(request: EvolutionRequest, limits: Limits) -> None:
    for name in ("population_size", "generations"):
        asked, most = getattr(request, name), getattr(limits, name)
        if asked > most:
            raise InputError(f"{name} {asked:,} is over this service's limit of {most:,}")
    for family in request.families or ():
        get_family(family)
    limits.market(request.market)
    parse_selection(
        assets=request.assets,
        start=request.start,
        end=request.end,
        timeframe=request.timeframe,
    )


def _state(job: Job) -> EvolutionState:
    return EvolutionState(
        id=job.run,
        state=job.state,
        request=EvolutionRequest.model_validate(job.body),
        generation=job.generation,
        digest=job.digest,
        error=job.error,
        created_at=job.created_at,
        ended_at=job.ended_at,
    )


def _event(name: str, data: object, id_: str | None) -> str:
    mark = "" if id_ is None else f"id: {id_}\n"
    return f"{mark}event: {name}\ndata: {json.dumps(data)}\n\n"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
