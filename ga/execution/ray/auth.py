"""Check whether a Ray cluster rejects our token. Ray itself retries for twenty seconds, and then
only reports that it could not connect.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ga.environment import home

_CALL: Final = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""The first call of a driver; its request is empty."""
_SECONDS: Final = 3.0


def refuses(address: str) -> bool:
    """Whether the control service at ``host:port`` answers and rejects our token."""
    try:
        import grpc
    except ImportError:
        # Without gRPC the check is not possible in advance.
        return False
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CALL)
        try:
            ask(b"", timeout=_SECONDS, metadata=_credentials())
        except grpc.RpcError as error:
            return error.code() in (
                grpc.StatusCode.UNAUTHENTICATED,
                grpc.StatusCode.PERMISSION_DENIED,
            )
    return False


def _credentials() -> tuple[tuple[str, str], ...]:
    """The credentials that Ray would send, searched in the same places and order."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return ()
    token = os.environ.get("RAY_AUTH_TOKEN")
    if not token:
        named = os.environ.get("RAY_AUTH_TOKEN_PATH")
        at_home = home()
        if not named and at_home is None:
            return ()
        try:
            token = Path(named or f"{at_home}/.ray/auth_token").read_text()
        except OSError:
            return ()
    return (("authorization", f"Bearer {token.strip()}"),)
