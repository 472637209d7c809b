"""Whether services are reachable, as a scrape sees it."""

from __future__ import annotations

import socket
import threading

import pytest

from ga.metrics import Reachable


def values(collector: Reachable) -> dict[str, float]:
    (family,) = collector.collect()
    return {sample.labels["service"]: sample.value for sample in family.samples}


def test_hanging_service_does_not_hold_the_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a name that a resolver looks for without end; the service beside it has its value."""
    end, tries = threading.Event(), []
    connect = socket.create_connection

    def connection(address: tuple[str, int], timeout: float) -> socket.socket:
        if address[0] == "gone":
            tries.append(threading.current_thread())
            assert end.wait(60)
            raise OSError("gone")
        return connect(address, timeout)

    monkeypatch.setattr(socket, "create_connection", connection)
    with socket.create_server(("127.0.0.1", 0)) as server:
        services = {"database": ("gone", 5432), "cache": server.getsockname()}
        collector = Reachable("r", services)
        for _ in range(3):
            assert values(collector) == {"database": 0.0, "cache": 1.0}
        # It is asked again only when the last try has ended.
        assert len(tries) == 1
        end.set()
        tries[0].join()
        services["database"] = services["cache"]
        assert values(collector) == {"database": 1.0, "cache": 1.0}
