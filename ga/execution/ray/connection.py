"""Connection of a Ray driver to its cluster."""

from __future__ import annotations

import os
import secrets
import socket


def ask_for_a_token() -> None:
    """Set a random token, so that the cluster that this process starts refuses other clients.

    Ray listens on every address and executes any client's code. Its processes are children of this
    one and inherit the token in the environment, so it is in no file and on no command line.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def local_address(target: str) -> str:
    """The address at which ``target`` (``host:port``) can reach this machine."""
    host, _, port = target.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket sends no packet; it only looks up the route.
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])
