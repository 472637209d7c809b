"""The ports of the production stack, and which of them are in use."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

PORTS: Final = (8265, 10001, 8000, 5432, 6379, 9090, 3000)
"""Ray's dashboard and client, the service, PostgreSQL, Redis, Prometheus, Grafana; on 127.0.0.1."""


def taken(ports: Iterable[int]) -> tuple[int, ...]:
    """The ports on which a process of this machine listens."""
    return tuple(port for port in ports if _taken(port))


def _taken(port: int) -> bool:
    with socket.socket() as trial:
        # As servers do, so that a recently closed connection does not block a port.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
