"""Round-trip times between nodes, measured in the nodes' own networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from evolution_gate.fixtures.protocols import Node, Stack
from evolution_gate.fixtures.system.launch import run, spawn
from validation.evidence.log import Sink
from validation.evidence.records import Note
from validation.evidence.records_network import RoundTrips

_ECHO: Final = str(Path(__file__).parents[1] / "scripts" / "tcp_latency.py")
_TIMES: Final = 1000
"""299 round trips, all below the limit, bound the 99th percentile; of 1000 four may be above it."""
_SECONDS: Final = 2.5
"""Time limit for all round trips of one node."""
_GRACE: Final = 10.0
_ACTORS: Final = Path(__file__).parents[1] / "scripts" / "actor_latency.py"
_ACTOR_TIMES: Final = 100
_ACTOR_SECONDS: Final = 5.0
"""Time limit for all calls of one pair."""
_ACTOR_START: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class _Place:
    node: Node
    network: str
    """Identity of its namespace; empty without a separate one."""
    prefix: tuple[str, ...]


def round_trips(stack: Stack, writer: Sink, *, say: Callable[[str], None]) -> None:
    """Measure round trips from every node to every other. Call it while the cluster has no work."""
    say("round trips between all pairs of nodes")
    places = [_place(node) for node in stack.nodes]
    with ExitStack() as servers:
        ports = {}
        for place in places:
            if place.network:
                ports[place.node.name] = _serve(place, servers)
        for source in places:
            answer = _ask(source, places, ports) if source.network else {}
            for target in places:
                if target is not source:
                    writer.add(_found(source, target, answer, ports))


def actor_round_trips(stack: Stack, writer: Sink, *, say: Callable[[str], None]) -> None:
    """Calls between actors of Ray on all pairs of nodes, under the nodes' quota.

    Call it while the cluster has no work.
    """
    say("round trips between actors on all pairs of nodes")
    argv = [
        sys.executable,
        "-c",
        _ACTORS.read_text(),
        stack.endpoints.ray,
        str(_ACTOR_TIMES),
        str(_ACTOR_SECONDS),
    ]
    process = stack.driver(argv, stack.endpoints.env)
    try:
        pairs = len(stack.nodes) * (len(stack.nodes) - 1)
        out, said = process.communicate(timeout=_ACTOR_START + pairs * _ACTOR_SECONDS)
        found = json.loads(out.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        process.kill()
        _, said = process.communicate()
        lines = said.strip().splitlines() or ["no answer"]
        writer.add(Note(text=f"no round trips between actors: {lines[-1]}"))
        return
    for source, target, seconds, lost in found:
        writer.add(
            RoundTrips(
                source=source,
                target=target,
                via="ray",
                source_network="",
                target_network="",
                seconds=tuple(seconds),
                lost=lost,
                detail="",
            )
        )


def _place(node: Node) -> _Place:
    """A node's own network: that of its process, unless it is ours."""
    path = f"/proc/{node.pid}/ns/net"
    try:
        found, ours = os.stat(path).st_ino, os.stat("/proc/self/ns/net").st_ino
    except OSError:
        return _Place(node=node, network="", prefix=())
    if found == ours:
        return _Place(node=node, network="", prefix=())
    return _Place(node=node, network=str(found), prefix=("nsenter", f"--net={path}", "--"))


def _serve(place: _Place, servers: ExitStack) -> int | None:
    server = servers.enter_context(
        spawn(
            [*place.prefix, sys.executable, _ECHO, "serve", place.node.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    )
    # Entered last, so called first: otherwise the wait at the end of the block would never return.
    servers.callback(server.kill)
    line = "" if server.stdout is None else server.stdout.readline().strip()
    return int(line) if line.isdecimal() else None


def _ask(
    source: _Place, places: list[_Place], ports: Mapping[str, int | None]
) -> Mapping[str, Any]:
    targets = [
        f"{place.node.address}:{ports[place.node.name]}"
        for place in places
        if place is not source and ports.get(place.node.name) is not None
    ]
    argv = [*source.prefix, sys.executable, _ECHO, "ask", str(_SECONDS), str(_TIMES), *targets]
    try:
        done = run(argv, capture_output=True, timeout=_SECONDS + _GRACE, check=False)
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _found(
    source: _Place, target: _Place, answer: Mapping[str, Any], ports: Mapping[str, int | None]
) -> RoundTrips:
    address = f"{target.node.address}:{ports.get(target.node.name)}"
    seconds = tuple(answer.get("seconds", {}).get(address, ()))
    lost = int(answer.get("lost", {}).get(address, 0))
    detail = ""
    if not source.network or not target.network:
        detail = "the nodes have no separate networks here"
    elif not seconds and not lost:
        detail = "the measuring program gave no answer"
    return RoundTrips(
        source=source.node.name,
        target=target.node.name,
        via="tcp",
        source_network=source.network,
        target_network=target.network,
        seconds=seconds,
        lost=lost,
        detail=detail,
    )
