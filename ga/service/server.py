"""The HTTP server: uvicorn with time-outs for slow clients and limits for many.

uvicorn alone waits without end for the head of a request, for a body, and for a client that does
not read. Such connections would use up the file descriptors of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ga.service.limits import Limits

BACKLOG: Final = 128
"""Connections that the kernel keeps until they are accepted; asyncio accepts as many at once."""
_RESERVED: Final = 2 * BACKLOG + 128
"""Descriptors kept for files, the database, children, health checks, and one round of accept()."""
_FOR_HEALTH: Final = 64
"""Connections above the limit."""
_LEAST_CONNECTIONS: Final = 32
_WHILE_FULL: Final = (b"/healthz", b"/readyz", b"/metrics")
"""Paths that are answered on connections above the limit."""
_CLOSE: Final = (b"connection", b"close")
_SECOND_SIGNAL: Final = 2


class Gate:
    """Counts connections, and makes room for new ones.

    Above a limit, the oldest connection whose request has not arrived is closed. If all are being
    served, the new one may only ask for health, readiness and metrics.
    """

    def __init__(self, limits: Limits, descriptors: int) -> None:
        self.limits = limits
        room = max(_LEAST_CONNECTIONS, descriptors - _RESERVED)
        self.connections = min(limits.connections, room)
        self.per_client = min(limits.client_connections, self.connections)
        self._open: dict[GuardedProtocol, None] = {}
        """In the order in which they were opened."""

    def enter(self, new: GuardedProtocol) -> bool:
        """Count a connection; whether all its requests may be answered."""
        admitted = True
        same = [one for one in self._open if one.address == new.address]
        for group, most in ((same, self.per_client), (list(self._open), self.connections)):
            if len(group) >= most:
                waiting = next((one for one in group if one.incomplete), None)
                if waiting is None:
                    admitted = False
                else:
                    waiting.drop()
        self._open[new] = None
        if not admitted and len(self._open) > self.connections + _FOR_HEALTH:
            new.drop()
        return admitted

    def leave(self, old: GuardedProtocol) -> None:
        """Forget a connection."""
        self._open.pop(old, None)


class GuardedProtocol(H11Protocol):
    """One connection with time-outs for the head of a request and for a client that does not read.

    The time-out of a body is ``ga.service.middleware.BodyLimit``'s.
    """

    gate: Gate

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._head: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None
        self._heard = False
        self._admitted = self.gate.enter(self)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._heard = True
        super().data_received(data)
        self._await_head()

    def on_response_complete(self) -> None:
        """See ``H11Protocol``."""
        super().on_response_complete()
        if not self._admitted:
            self.transport.close()
        elif not self.transport.is_closing() and self.waits:
            # uvicorn's time-out of connections kept alive holds until the next byte.
            self._heard = False
            self._cancel_head()

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().pause_writing()
        if self._write is None:
            self._write = self.loop.call_later(self.gate.limits.write_seconds, self.drop)

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        super().resume_writing()
        if self._write is not None:
            self._write.cancel()
            self._write = None

    @property
    def waits(self) -> bool:
        """Whether no request is being served: its head has not arrived."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def incomplete(self) -> bool:
        """Whether a request has not arrived: its head or its body."""
        return self.waits or (self.cycle.more_body and not self.cycle.response_started)

    def drop(self) -> None:
        """Close it at once; what was not sent is lost."""
        self._forget()
        self.transport.abort()

    def handle_events(self) -> None:
        """See ``H11Protocol``; above the limit only some paths are answered."""
        app = self.app
        if not self._admitted:
            self.app = _only_health(app)
        try:
            super().handle_events()
        finally:
            self.app = app

    def _await_head(self) -> None:
        """Limit the time until the head of a request is there; more bytes do not extend it."""
        if not self.waits:
            self._cancel_head()
        elif self._head is None and not self.transport.is_closing():
            self._head = self.loop.call_later(self.gate.limits.header_seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self.transport.is_closing():
            return
        # Who has sent nothing could take it for the answer to a later request.
        if self._heard:
            self._answer_408()
        self._forget()
        self.transport.close()

    def _answer_408(self) -> None:
        body = _problem(408, "Request Timeout", "the head of the request took too long")
        # The rest of a body may be what is late; its request has been answered already.
        with contextlib.suppress(h11.LocalProtocolError):
            for event in (
                h11.Response(status_code=408, headers=_headers(body), reason=b"Request Timeout"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")

    def _cancel_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _forget(self) -> None:
        self._cancel_head()
        if self._write is not None:
            self._write.cancel()
            self._write = None
        self.gate.leave(self)


class Server(uvicorn.Server):
    """uvicorn's server, ended by ``end``.

    Args:
        before_end: called in the event loop before open connections are waited for.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        *,
        before_end: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        protocol = type("_Protocol", (GuardedProtocol,), {"gate": Gate(limits, descriptors)})
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=True,
                backlog=BACKLOG,
                timeout_graceful_shutdown=2,
                # A proxy's headers are not trusted: they could name another client.
                proxy_headers=False,
            )
        )
        logging.getLogger("uvicorn.error").addFilter(_of_interest)
        self._before_end, self._say = before_end, say
        self._out_of_descriptors = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the caller's: see ``ended_by_signals``."""
        asyncio.get_running_loop().set_exception_handler(self._report)
        yield

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """See ``uvicorn.Server``."""
        self._before_end()
        await super().shutdown(sockets)

    def end(self, *, at_once: bool) -> None:
        """End in order, or without waiting for answers; may be called by a signal handler."""
        self.should_exit = True
        self.force_exit = self.force_exit or at_once

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """One line when descriptors run out, instead of a traceback for every connection."""
        error = context.get("exception")
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)
        elif not self._out_of_descriptors:
            self._out_of_descriptors = True
            self._say(f"connections: {error.strerror}; raise `ulimit -n`")


@contextlib.contextmanager
def ended_by_signals(server: Server, hurry: Callable[[], None]) -> Iterator[None]:
    """End the server in order by SIGINT, SIGTERM or SIGHUP, without waiting by a second one, and
    the process by a third one.

    Args:
        hurry: called by the second signal.
    """
    received: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > _SECOND_SIGNAL:
            # Children end with their parent.
            os._exit(128 + number)
        server.end(at_once=len(received) == _SECOND_SIGNAL)
        if len(received) == _SECOND_SIGNAL:
            hurry()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    # One that was ignored at the start (nohup) stays ignored.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of_interest(record: logging.LogRecord) -> bool:
    """Whether uvicorn's message is not only that a request was cut short by the end."""
    cancelled = record.exc_info is not None and record.exc_info[0] is asyncio.CancelledError
    return not cancelled and "graceful shutdown exceeded" not in record.getMessage()


def _only_health(app: Any) -> Any:
    async def limited(scope: Any, receive: Any, send: Any) -> None:

        async def closing(message: Any) -> None:
            # Else a client would send its next request on a connection that is being closed.
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message.get("headers", ()), _CLOSE]}
            await send(message)

        if scope["raw_path"] in _WHILE_FULL:
            await app(scope, receive, closing)
            return
        body = _problem(503, "Service Unavailable", "too many connections; try again later")
        headers = [*_headers(body), (b"retry-after", b"5")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return limited


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        _CLOSE,
    ]


def _problem(status: int, title: str, detail: str) -> bytes:
    found = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return json.dumps(found).encode()
