"""Webhook for Alertmanager while the gate runs. It stores each alert with its time of arrival."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from validation.evidence.records_monitoring import Notification

LOOPBACK: Final = ("127.0.0.1", 0)
"""Host, and a free port."""
_MOST_BYTES: Final = 1_000_000
_SERVICES: Final = {"database": "postgres", "cache": "redis"}
"""The engine's names of services that the stack calls otherwise."""


class Webhook:
    """Listens inside a ``with`` block.

    Args:
        port: 0: a free one.

    Raises:
        OSError: it cannot listen there.
    """

    def __init__(self, host: str = LOOPBACK[0], port: int = LOOPBACK[1]) -> None:
        self._name_of: Callable[[str], str] = str
        self._news = threading.Condition()
        self._notifications: list[Notification] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length") or 0), _MOST_BYTES)
                try:
                    webhook.take(self.rfile.read(length))
                    status = 200
                except (ValueError, KeyError, TypeError):
                    # Alertmanager does not repeat a message that is answered with 4xx.
                    status = 400
                self.send_response(status)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing: standard error belongs to the gate."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="webhook")

    @property
    def url(self) -> str:
        """URL for the configuration of Alertmanager."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/"

    def translate(self, name_of: Callable[[str], str]) -> None:
        """From now on, store the targets of alerts by these names.

        Args:
            name_of: From the label ``node`` of an alert, for example an address, to the node's
                name.
        """
        self._name_of = name_of

    @property
    def notifications(self) -> tuple[Notification, ...]:
        """All notifications so far."""
        with self._news:
            return tuple(self._notifications)

    def take(self, body: bytes) -> None:
        """Store the alerts of one message.

        Raises:
            ValueError, KeyError, TypeError: it is not a message of Alertmanager.
        """
        now = time.time()
        found = [
            Notification(
                alert=str(alert["labels"]["alertname"]),
                target=self._target(alert["labels"]),
                firing=alert["status"] == "firing",
                received_at=now,
            )
            for alert in json.loads(body)["alerts"]
        ]
        with self._news:
            self._notifications += found
            self._news.notify_all()

    def wait(self, alert: str, target: str, *, firing: bool, seconds: float) -> bool:
        """Wait for this state of an alert; an alert that was never received counts as not
        firing.
        """

        def said() -> bool:
            words = [
                n.firing for n in self._notifications if (n.alert, n.target) == (alert, target)
            ]
            return (words[-1] if words else False) is firing

        with self._news:
            return self._news.wait_for(said, timeout=seconds)

    def _target(self, labels: Mapping[str, object]) -> str:
        service, node = str(labels.get("service", "")), str(labels.get("node") or "")
        return self._name_of(node) if node else _SERVICES.get(service, service)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
