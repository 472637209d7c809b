"""The result cache of a campaign: on, as in production, and empty for each workload but one.

Workloads with equal seeds would be nothing but hits if they shared outcomes. So each has a
namespace of its own, which is removed when it has ended.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import redis

_TIMEOUT_S: Final = 5.0
_CHUNK: Final = 1000


class CacheNamespaces:
    """Namespaces in the Redis of a stack.

    Args:
        url: None: there is no Redis, and workloads run without a cache.
        say: Receives a line if the server fails; workloads then lose their cache, too.
    """

    def __init__(self, url: str | None, say: Callable[[str], None]) -> None:
        self._url, self._say = url, say
        # Another campaign may use the same server.
        self._campaign = secrets.token_hex(4)

    @property
    def on(self) -> bool:
        """Whether workloads have a cache."""
        return self._url is not None

    def environment(self, name: str) -> dict[str, str]:
        """Variables that give a process the namespace ``name``."""
        if self._url is None:
            return {"GA_CACHE_URL": ""}
        return {"GA_CACHE_URL": self._url, "GA_CACHE_NAMESPACE": self._full(name)}

    def forget(self, name: str) -> None:
        """Remove all outcomes of a namespace."""
        if self._url is None:
            return
        try:
            with redis.Redis.from_url(self._url, socket_timeout=_TIMEOUT_S) as client:
                found: list[bytes] = []
                for key in client.scan_iter(match=f"*:{self._full(name)}:*", count=_CHUNK):
                    found.append(key)
                    if len(found) == _CHUNK:
                        client.unlink(*found)
                        found.clear()
                if found:
                    client.unlink(*found)
        except redis.RedisError as error:
            self._say(f"outcomes of {name} stay in the cache: {type(error).__name__}")

    def _full(self, name: str) -> str:
        return f"gate-{self._campaign}-{name}"
