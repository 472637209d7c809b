"""The stream of an evolution's generations, as server-sent events.

sse-starlette is not used: counting open streams needs a response class of ours anyway
(docs/design.md).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Annotated, Final

from fastapi import APIRouter, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ga.errors import LedgerError
from ga.service.context import Context
from ga.service.database_watch import ERRORS
from ga.service.event_hub import DroppedError, End
from ga.service.evolutions import RunId, evolution_state
from ga.service.job_store import GenerationEvent
from ga.service.limits import Limits
from ga.service.middleware import Metrics
from ga.service.models import Event
from ga.service.problem_details import ProblemError, described

_PAUSE: Final = 0.5
"""Seconds between two tries to read while the database does not answer."""
_KEEP_ALIVE: Final = 10.0
"""Seconds without an event after which a comment is sent, so that no proxy closes the stream."""


def add_events(routes: APIRouter, context: Context) -> None:
    """Watch evolutions."""
    watchers = Watchers(context.limits, context.metrics)

    @routes.get(
        "/v1/evolutions/{run}/events",
        operation_id="watchEvolution",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": Event.model_json_schema()}},
                "description": "An event `generation` for each, its number as id; then `end`",
            },
            **described(401, 403, 404, 422, 429, 500, 503),
        },
    )
    async def events(
        run: RunId,
        last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,9}$")] = "",
    ) -> StreamingResponse:
        """Watch an evolution: its generations so far, and each new one; goes on after
        Last-Event-ID.
        """
        await run_in_threadpool(_readable, context, run)
        after = int(last_event_id) if last_event_id else -1
        return watchers.stream(_generations(context, run, after))


def _readable(context: Context, run: str) -> None:
    """Refuse before the stream begins what would end it."""
    context.job(run)
    context.ledger.require_sound("generations", run=run)


class Watchers:
    """Counts open streams, and refuses more than the service allows."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits, self._metrics = limits, metrics
        self._open = 0

    def stream(self, events: AsyncIterator[str]) -> StreamingResponse:
        """Send events to one more watcher. Call it in the event loop.

        Raises:
            ProblemError: 429, too many streams are open.
        """
        # Nothing else runs in the loop between the look and the count.
        if self._open >= self._limits.watchers:
            detail = f"{self._limits.watchers} streams are open; try again later"
            raise ProblemError(429, detail)
        self._open += 1
        self._metrics.watchers.inc()
        return _Stream(events, self._left)

    def _left(self) -> None:
        self._open -= 1
        self._metrics.watchers.dec()


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


async def _generations(context: Context, run: str, after: int) -> AsyncIterator[str]:
    """The generations of an evolution after a number, until it has ended."""
    try:
        news = context.events.join(run)
    except DroppedError:
        return
    try:
        for event in await _so_far(context, run, after):
            after = event.generation
            yield _event("generation", asdict(event), str(after))
        context.events.begin(run, after)
        while True:
            found = await news.next(_KEEP_ALIVE)
            if found is None:
                yield ": waiting\n\n"
            elif isinstance(found, End):
                job = found.job
                state = None if job is None else evolution_state(job).model_dump(mode="json")
                yield _event("end", state, None)
                return
            elif found.generation > after:
                after = found.generation
                yield _event("generation", asdict(found), str(after))
    except (DroppedError, LedgerError):
        # Damaged rows: what the client asks next is answered with 500.
        # The client connects again, and goes on after the last event that it has.
        return
    finally:
        news.close()


async def _so_far(context: Context, run: str, after: int) -> list[GenerationEvent]:
    while True:
        try:
            return await run_in_threadpool(context.store.events, run, after)
        except ERRORS:
            context.watch.suspect()
            await asyncio.sleep(_PAUSE)


def _event(name: str, data: object, id_: str | None) -> str:
    mark = "" if id_ is None else f"id: {id_}\n"
    return f"{mark}event: {name}\ndata: {json.dumps(data)}\n\n"
