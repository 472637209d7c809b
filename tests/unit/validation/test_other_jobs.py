"""Jobs of others on a deployed target: which count, and what counts if nobody can tell."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from validation.safety.other_jobs import other_jobs


@pytest.fixture
def dashboard() -> Iterator[tuple[str, dict[str, Any]]]:
    says: dict[str, Any] = {"status": 200, "rows": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(says["status"])
            self.end_headers()
            self.wfile.write(json.dumps(says["rows"]).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", says
    server.shutdown()
    thread.join()
    server.server_close()


def job(name: str, status: str, address: str | None) -> dict[str, Any]:
    driver = None if address is None else {"node_ip_address": address}
    return {"job_id": name, "submission_id": None, "status": status, "driver_info": driver}


def test_only_going_jobs_of_others_count(dashboard: tuple[str, dict[str, Any]]) -> None:
    url, says = dashboard
    says["rows"] = [
        job("ours", "RUNNING", "10.0.0.9"),
        job("theirs", "RUNNING", "10.0.0.5"),
        job("waiting", "PENDING", None),
        job("over", "SUCCEEDED", "10.0.0.5"),
    ]
    assert other_jobs(url, {}, own="10.0.0.9") == ["theirs", "waiting"]
    assert len(other_jobs(url, {}, own="")) == 3


@pytest.mark.parametrize("says", [{"status": 500}, {"rows": {"a": 1}}, {"rows": [{}]}])
def test_unknown_jobs_count_as_others(
    dashboard: tuple[str, dict[str, Any]], says: dict[str, Any]
) -> None:
    url, known = dashboard
    known.update(says)
    (found,) = other_jobs(url, {}, own="")
    assert found.startswith("unknown: the dashboard")
    assert other_jobs("http://127.0.0.1:1", {}, own="")[0].startswith("unknown")
