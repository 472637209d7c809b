"""Cache of outcomes in Redis across runs. Its loss changes no result, only the speed.

A stored outcome equals its evaluation bit for bit. Its name contains everything else that
determines its bits: kernels, compiler and processor. So a change of these is a miss. Each value has
a checksum over these, its key and its bits: a value that is damaged, of another key or of another
version is a miss, too, and counted.
"""

from __future__ import annotations

import hashlib
import platform
import queue
import re
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from ga.digits import whole
from ga.environment import setting
from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.families import KERNEL_VERSION
from ga.files import read_text

if TYPE_CHECKING:
    from redis import Redis

TTL_SECONDS: Final = 30 * 86_400
"""Seconds after which an outcome expires."""
FORMAT: Final = 2
_TIMEOUT_SECONDS: Final = 0.5
"""Time limit of a call, in seconds. It delays a run once; later retries are made in another
thread.
"""
_PAUSE_SECONDS: Final = 30.0
_WAITING: Final = 64
"""Maximum number of generations in the write queue."""
_CLOSE_SECONDS: Final = 5.0
_REASON: Final = 200
"""Maximum characters of an error message."""
_VALUE: Final = struct.Struct("<dqd")
_CHECK_BYTES: Final = 8
_FORM: Final = "redis://[:PASSWORD@]HOST:PORT/DB"
_NAMESPACE: Final = re.compile("[A-Za-z0-9._-]{0,64}")


def maker() -> str:
    """Everything besides the key that determines a value: format, kernels, compiler, processor."""
    makers = (version("numba"), version("llvmlite"), version("numpy"), platform.machine())
    made_by = hashlib.sha256("\x00".join(makers).encode()).hexdigest()[:8]
    return f"ga:{FORMAT}:{KERNEL_VERSION}:{made_by}:"


def prefix_of(namespace: str) -> str:
    """Prefix of all stored keys. Runs of different namespaces share no outcome."""
    return f"{maker()}{namespace}:" if namespace else maker()


def encode(outcome: Outcome, made_by: str) -> bytes:
    """Encode an outcome with a fitness in 32 bytes: fitness, trades, drawdown, checksum.

    Args:
        made_by: ``maker()`` of the process that evaluated it.

    Raises:
        ValueError: a failed outcome, which is not stored.
    """
    if outcome.fitness is None:
        raise ValueError("a failed evaluation is not cached: it may succeed the next time")
    body = _VALUE.pack(outcome.fitness, outcome.trades, outcome.max_drawdown)
    return body + _check(outcome.key, made_by, body)


def decode(key: str, value: object, made_by: str) -> Outcome | None:
    """Decode a value of ``encode`` for this key and maker; None for any other value."""
    if not isinstance(value, bytes) or len(value) != _VALUE.size + _CHECK_BYTES:
        return None
    body = value[: _VALUE.size]
    if value[_VALUE.size :] != _check(key, made_by, body):
        return None
    fitness, trades, drawdown = _VALUE.unpack(body)
    if not isfinite(fitness):
        return None
    return Outcome(key=key, fitness=fitness, trades=trades, max_drawdown=drawdown)


def _check(key: str, made_by: str, body: bytes) -> bytes:
    # It includes key and maker, so that a value of another key or version is invalid.
    return hashlib.sha256(made_by.encode() + key.encode() + body).digest()[:_CHECK_BYTES]


@dataclass(frozen=True, kw_only=True)
class CacheServer:
    """Address of the cache. ``repr`` omits its password."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None
    tls: bool
    namespace: str = ""
    """Part of all stored names; empty: that of all runs without one."""

    def __repr__(self) -> str:
        return f"CacheServer({self.host}:{self.port}/{self.database})"


def parse_url(
    url: str, password_file: str | None = None, namespace: str | None = None
) -> CacheServer:
    """Read ``redis://`` or, for TLS, ``rediss://``.

    Args:
        password_file: file with the password, used if the URL has none.
        namespace: of the outcomes.

    Raises:
        InputError: not such a URL or namespace, or the file cannot be read. The message omits the
            URL.
    """
    if not _NAMESPACE.fullmatch(namespace or ""):
        raise InputError(
            "GA_CACHE_NAMESPACE: must be at most 64 letters, digits, dots, underscores or hyphens"
        )
    try:
        parts = urlsplit(url)
        host, port, path = parts.hostname, parts.port, parts.path.removeprefix("/")
    except ValueError:
        # An invalid port, or an unclosed bracket.
        raise InputError(f"--cache: not a URL; give {_FORM}") from None
    if parts.scheme not in ("redis", "rediss") or not host or parts.query or parts.fragment:
        raise InputError(f"--cache: not the URL of a Redis server; give {_FORM}")
    database = whole(path or "0")
    if database is None:
        raise InputError(f"--cache: the database must be a number; give {_FORM}")
    password = unquote(parts.password) if parts.password else None
    if password is None and password_file:
        try:
            password = read_text(Path(password_file)).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise InputError(
                f"GA_CACHE_PASSWORD_FILE {password_file}: cannot be read ({reason});"
                " name a file that holds the password of --cache"
            ) from None
    return CacheServer(
        host=host,
        port=port or 6379,
        database=database,
        username=unquote(parts.username) if parts.username else None,
        password=password,
        tls=parts.scheme == "rediss",
        namespace=namespace or "",
    )


def check_cache(url: str) -> CacheServer:
    """Address of ``--cache``, with its password from the URL or ``GA_CACHE_PASSWORD_FILE``, and the
    namespace in ``GA_CACHE_NAMESPACE``.

    Raises:
        InputError: see ``parse_url``; or Redis' client is not installed.
    """
    server = parse_url(url, setting("GA_CACHE_PASSWORD_FILE"), setting("GA_CACHE_NAMESPACE"))
    if find_spec("redis") is None:
        raise InputError(
            "--cache needs a client; run: python -m pip install 'evolution-gate[cache]'"
        )
    return server


def open_cache(url: str | None, *, warn: Callable[[str], None]) -> Cache | None:
    """The cache at a URL; None without a URL. It connects at its first query.

    Args:
        warn: called once, with one line, when the server cannot be used.

    Raises:
        InputError: see ``check_cache``.
    """
    return Cache(check_cache(url), warn=warn) if url else None


class Cache:
    """Outcomes by evaluation key. No call raises because of a server error.

    Reading is one request. Another thread writes; if it cannot keep up, outcomes are dropped. After
    a failure of the server every query is a miss, until that thread reaches the server again after
    a pause.
    """

    def __init__(
        self,
        server: CacheServer,
        *,
        warn: Callable[[str], None],
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self.damaged = 0
        """Number of damaged or foreign values found so far."""
        self._server, self._warn, self._pause = server, warn, pause_seconds
        self._prefix, self._made_by = prefix_of(server.namespace), maker()
        self._client = _client(server)
        self._lost = self._warned = False
        self._warning = threading.Lock()
        self._waiting: queue.SimpleQueue[Sequence[Outcome] | None] = queue.SimpleQueue()
        # A daemon thread, so that a hanging server does not block the end of a run.
        self._writer = threading.Thread(target=self._write, name="cache", daemon=True)
        self._writer.start()

    def get_many(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """The outcomes of the keys that are stored."""
        if not keys or self._lost:
            return {}
        try:
            values = self._client.mget([self._prefix + key for key in keys])
            if not isinstance(values, list) or len(values) != len(keys):
                raise ConnectionError("its answer has not one value for each key")
        except Exception as error:
            # No error of the cache may end a run.
            self._mark_lost(error)
            return {}
        found: dict[str, Outcome] = {}
        for key, value in zip(keys, values, strict=True):
            outcome = decode(key, value, self._made_by)
            if outcome is not None:
                found[key] = outcome
            elif value is not None:
                self.damaged += 1
        return found

    def put_many(self, outcomes: Iterable[Outcome]) -> None:
        """Queue outcomes for storage, best effort. Failed outcomes are not stored."""
        good = [outcome for outcome in outcomes if outcome.fitness is not None]
        if good and not self._lost and self._waiting.qsize() < _WAITING:
            self._waiting.put(good)

    def close(self) -> None:
        """Write the queue and disconnect; does not wait for a hanging server."""
        self._waiting.put(None)
        self._writer.join(_CLOSE_SECONDS)
        self._client.close()

    def _write(self) -> None:
        while True:
            try:
                outcomes = self._waiting.get(timeout=self._pause)
            except queue.Empty:
                self._reconnect()
                continue
            if outcomes is None:
                return
            if not self._lost:
                self._store(outcomes)

    def _reconnect(self) -> None:
        if self._lost:
            try:
                self._client.ping()
            except Exception as error:
                self._mark_lost(error)
            else:
                self._lost = False

    def _store(self, outcomes: Sequence[Outcome]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                for outcome in outcomes:
                    pipeline.set(
                        self._prefix + outcome.key, encode(outcome, self._made_by), ex=TTL_SECONDS
                    )
                # An error that the pipeline itself raises would show the command with its value.
                for answer in pipeline.execute(raise_on_error=False):
                    if isinstance(answer, Exception):
                        raise answer
        except Exception as error:
            self._mark_lost(error)

    def _mark_lost(self, error: Exception) -> None:
        self._lost = True
        with self._warning:
            first, self._warned = not self._warned, True
        if first:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_REASON]
            self._warn(
                f"cache {self._server.host}:{self._server.port} cannot be used ({reason});"
                " going on without it, which is slower and changes no result"
            )


def _client(server: CacheServer) -> Redis:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis(
        host=server.host,
        port=server.port,
        db=server.database,
        username=server.username,
        password=server.password,
        ssl=server.tls,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        # The client's own retries would delay every call.
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
