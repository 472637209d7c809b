"""How a Ray driver reaches its cluster."""

from __future__ import annotations

import os
import secrets
import socket


def ask_for_a_token() -> None:
    """Make the cluster that this process is about to start refuse everybody else.

    Ray listens on every address and runs anyone's code. Its processes are children of this one:
    they have the token from the environment, so it is in no file and on no command line.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def local_address(target: str) -> str:
    """The address of this machine that ``target`` (``host:port``) can reach it by."""
    host, _, port = target.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Connecting a datagram socket sends nothing; it only asks for the route.
        probe.connect((host, int(port)))
        return str(probe.getsockname()[0])
