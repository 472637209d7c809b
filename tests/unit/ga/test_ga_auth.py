"""A control service that wants a token, and gets another one, or none."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evolution_gate.fixtures.system import ports
from ga.execution.ray.auth import refuses

grpc = pytest.importorskip("grpc")

TOKEN = "t" * 64


@pytest.fixture
def service() -> Iterator[str]:
    """Answers as Ray does; its ``host:port``."""

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if dict(context.invocation_metadata()).get("authorization") != f"Bearer {TOKEN}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""

    handler = grpc.method_handlers_generic_handler(
        "ray.rpc.NodeInfoGcsService",
        {"GetClusterId": grpc.unary_unary_rpc_method_handler(answer)},
    )
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_valid_token_is_accepted_from_every_source(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refuses(service)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(f"{TOKEN}\n")
    assert not refuses(service)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert refuses(service)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert not refuses(service)
    # Ray sends none then, whatever it has.
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert refuses(service)


def test_unreachable_cluster_is_not_a_refusal() -> None:
    assert not refuses(f"127.0.0.1:{ports.free(1)[0]}")
