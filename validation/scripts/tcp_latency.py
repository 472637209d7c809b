"""Round trips over TCP: a separate program, so that it can run in a node's network.

``serve HOST`` prints the port it listens on and answers until its input ends. ``ask SECONDS TIMES
HOST:PORT...`` sends small messages to all targets in turn and prints the durations as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

_MESSAGE = b"." * 64
_TIMEOUT = 2.0
_PAUSE = 0.001
"""Pause between rounds: a burst without pauses would be over before a disturbance could show."""


def serve(host: str) -> None:
    """Return every message, until standard input is closed."""
    listener = socket.create_server((host, 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def ask(seconds: float, times: int, targets: list[str]) -> dict[str, object]:
    """Round trips to every target in turn, and the number without an answer in time."""
    taken: dict[str, list[float]] = {target: [] for target in targets}
    lost = dict.fromkeys(targets, 0)
    connections: dict[str, socket.socket] = {}
    deadline = time.monotonic() + seconds
    for _ in range(times):
        for target in targets:
            if time.monotonic() > deadline:
                break
            try:
                if target not in connections:
                    connections[target] = _connect(target)
                taken[target].append(_round_trip(connections[target]))
            except OSError:
                lost[target] += 1
                if target in connections:
                    connections.pop(target).close()
        time.sleep(_PAUSE)
    network = str(os.stat("/proc/self/ns/net").st_ino)
    return {"network": network, "seconds": taken, "lost": lost}


def _connect(target: str) -> socket.socket:
    host, _, port = target.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _round_trip(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(_MESSAGE)
    left = len(_MESSAGE)
    while left:
        got = len(connection.recv(left))
        if not got:
            raise ConnectionError("the other side hung up")
        left -= got
    return time.perf_counter() - began


def main(argv: list[str]) -> int:
    """Run ``serve`` or ``ask``."""
    if argv[0] == "serve":
        serve(argv[1])
    else:
        print(json.dumps(ask(float(argv[1]), int(argv[2]), argv[3:])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
