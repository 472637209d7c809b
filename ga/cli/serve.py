"""``python -m ga serve``: its options, and the checks before it starts."""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from ga.environment import setting
from ga.errors import InputError
from ga.files import read_text
from ga.ledger import open_ledger
from ga.metrics import check_host, depends_on
from ga.service.engine_process import NICENESS
from ga.service.limits import DATABASE_SECONDS, TOKEN_VARIABLE, Limits
from ga.service.singleton_lock import acquire_singleton
from ga.service.tokens import Audit, Tokens, parse_tokens

_SWITCH_SECONDS: Final = 0.0005
_MAKE_ONE: Final = (
    "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))' > FILE, and give"
    f" --token-file FILE or the variable {TOKEN_VARIABLE}"
)

_LIMITS: Final = {
    "population_size": "individuals per evolution",
    "generations": "generations per evolution",
    "cells": "bars x assets per market",
    "queued": "unfinished evolutions",
    "body_bytes": "bytes per request",
    "watchers": "open event streams",
    "concurrent": "concurrent evolutions",
    "seconds": "seconds that an evolution may work",
    "quiet_seconds": "seconds that an evolution may work without a new generation",
    "market_bytes": "bytes of a market's files",
    "connections": "open connections",
    "client_connections": "open connections of one address",
    "header_seconds": "seconds for the head of a request",
    "body_seconds": "seconds for the body of a request",
    "write_seconds": "seconds without reading an answer",
    "request_rate": "requests a second with one token",
}
"""Options ``--max-...``: field of ``Limits`` -> what it limits."""


def register(
    add: Callable[[str, str], argparse.ArgumentParser],
    store: Callable[[argparse.ArgumentParser], None],
) -> None:
    """Add the command's options. ``add`` makes a command, ``store`` gives it ``--store``."""
    serve = add("serve", "Serve evolutions over HTTP: submit, watch, cancel, read.")
    serve.add_argument("--host", default="127.0.0.1", help="(default: %(default)s)")
    serve.add_argument(
        "--port", type=int, default=8000, help="TCP port, 0: any free one (default: 8000)"
    )
    serve.add_argument(
        "--token-file",
        type=Path,
        help="file with the token, or with lines NAME ROLE TOKEN; read again when it changes"
        f" (default: variable {TOKEN_VARIABLE})",
    )
    serve.add_argument("--address", help="HOST:PORT of a Ray cluster (default: this machine)")
    serve.add_argument(
        "--workers", type=int, help="workers of each evolution (default: all there are)"
    )
    serve.add_argument(
        "--niceness",
        type=int,
        default=NICENESS,
        help="niceness of evolutions, 0 to 19, so that requests go first (default: %(default)s)",
    )
    serve.add_argument(
        "--markets", type=Path, help="folder of market files that requests may name (default: none)"
    )
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name that requests may be addressed to, besides localhost and IP addresses;"
        " may be repeated",
    )
    serve.add_argument(
        "--audit",
        type=Path,
        metavar="FILE",
        help="append who changed what, as JSON Lines (default: no file)",
    )
    serve.add_argument(
        "--hyperliquid", action="store_true", help="requests may name markets of this exchange"
    )
    for name, text in _LIMITS.items():
        serve.add_argument(
            f"--max-{name.replace('_', '-')}",
            dest=name,
            type=int,
            default=getattr(Limits(), name),
            help=f"maximum {text} (default: %(default)s)",
        )
    serve.add_argument(
        "--database-seconds",
        type=float,
        default=DATABASE_SECONDS,
        metavar="S",
        help="seconds of silence after which the database is away (default: %(default)s)",
    )
    store(serve)


def command(options: argparse.Namespace) -> int:
    """``serve``: run until it is interrupted."""
    limits = Limits(
        **{name: getattr(options, name) for name in _LIMITS},
        markets=options.markets,
        hyperliquid=options.hyperliquid,
    )
    if not 0 <= options.niceness <= 19:
        raise InputError(f"--niceness must be 0..19, not {options.niceness}")
    if not 0.1 <= options.database_seconds <= 600:
        raise InputError(f"--database-seconds must be 0.1..600, not {options.database_seconds:g}")
    tokens = Tokens(read_token(options.token_file), file=options.token_file, say=_say)
    try:
        from ga.service.server import Server, ended_by_signals
    except ImportError:
        raise InputError(
            "serve: the service's packages are not installed; pip install evolution-gate[service]"
        ) from None
    from ga.service.app import make_app
    from ga.service.database_watch import DatabaseWatch
    from ga.service.event_hub import EventHub
    from ga.service.job_store import JobStore
    from ga.service.supervisor import Runner, engine_command

    with (
        closing(_listen(options.host, options.port)) as listening,
        # Report an unreachable database at once, because waiting requests would accumulate.
        closing(
            open_ledger(options.store, create=True, wait=False, seconds=options.database_seconds)
        ) as ledger,
        acquire_singleton(ledger) as held,
        closing(DatabaseWatch(ledger.engine, seconds=options.database_seconds, say=_say)) as watch,
    ):
        jobs = JobStore(ledger.engine)
        events = EventHub(jobs, watch)
        runner = Runner(
            jobs,
            limits,
            command=engine_command(limits, address=options.address, workers=options.workers),
            # Not among the arguments, which every user can read: the URL may contain a password.
            env={"GA_STORE": options.store},
            say=_say,
            watch=watch,
            held=held,
            niceness=options.niceness,
        )
        app = make_app(
            ledger=ledger,
            store=jobs,
            runner=runner,
            limits=limits,
            token=tokens,
            audit=Audit(options.audit, _say),
            hosts=[*options.allowed_host, options.host],
            watch=watch,
            events=events,
            services=depends_on(options.store, setting("GA_CACHE_URL")),
        )

        def before_end() -> None:
            runner.end()
            events.close()

        server = Server(app, limits, before_end=before_end, say=_say)
        host, port = listening.getsockname()[:2]
        print(f"serving on http://{host}:{port}", flush=True)
        watch.start()
        runner.start()
        # Requests that query the database run in threads; the loop must not wait 5 ms for each.
        sys.setswitchinterval(_SWITCH_SECONDS)
        with ended_by_signals(server, hurry=lambda: runner.end(at_once=True)):
            try:
                server.run(sockets=[listening])
            finally:
                runner.close()
    return 0


def _say(text: str) -> None:
    print(f"ga: {text}", file=sys.stderr, flush=True)


def read_token(file: Path | None) -> str:
    """The token or the tokens, from a file or the variable.

    Raises:
        InputError: it is missing, too short, or not readable; the message says how to make one.
    """
    if file is not None:
        try:
            return _valid(read_text(file, encoding="ascii").strip(), f"--token-file {file}")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not ASCII text"
            raise InputError(f"--token-file {file}: {reason}; {_MAKE_ONE}") from None
    token = setting(TOKEN_VARIABLE) or ""
    if not token:
        raise InputError(f"--token-file: the service has no token; {_MAKE_ONE}")
    return _valid(token, f"variable {TOKEN_VARIABLE}")


def _valid(text: str, source: str) -> str:
    try:
        parse_tokens(text, source)
    except InputError as error:
        raise InputError(f"{error}; {_MAKE_ONE}") from None
    return text


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"--port must be 0..65535, not {port}")
    check_host(host, "--host")
    try:
        server = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: {error.strerror}; give another, or stop its user"
        ) from None
    # Connections inherit it. asyncio sets it only on sockets with an explicit protocol. Without it
    # every answer of two packets waits 40 ms for the client's acknowledgement.
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server
