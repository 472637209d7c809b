"""Round trips between Ray's actors, one on each node. Run by ``stack.driver`` as ``-c`` text.

``ADDRESS TIMES SECONDS``: prints, as JSON, ``[source, target, [seconds, ...], lost]`` a pair.
"""

import json
import logging
import sys
import time
from typing import Any

import ray as typed
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ga.execution.ray.connection import local_address

# Ray's types omit the attributes of an actor class.
ray: Any = typed
_TIMEOUT = 10.0
_APART = 0.02
"""Seconds between two calls: without a pause they would use up the quota and measure the wait."""


class Echo:
    """Answers requests and sends requests to other actors."""

    def answer(self, value: int) -> int:
        """Return the message."""
        return value

    def ask(self, other: Any, times: int, seconds: float) -> tuple[list[float], int]:
        """Seconds of each round trip, and the number without an answer in time."""
        taken: list[float] = []
        lost = 0
        deadline = time.monotonic() + seconds
        # The first round trip opens the connection.
        ray.get(other.answer.remote(0), timeout=_TIMEOUT)
        for index in range(times):
            if time.monotonic() > deadline:
                break
            time.sleep(_APART)
            began = time.perf_counter()
            try:
                ray.get(other.answer.remote(index), timeout=_TIMEOUT)
            except ray.exceptions.RayError:
                lost += 1
            else:
                taken.append(time.perf_counter() - began)
        return taken, lost


def main(address: str, times: int, seconds: float) -> None:
    """Measure every pair, one after the other."""
    ray.init(
        address=address,
        _node_ip_address=local_address(address),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    nodes = {
        node["NodeName"]: node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    }
    actors, actor = {}, ray.remote(num_cpus=0)(Echo)
    for name, node_id in nodes.items():
        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        actors[name] = actor.options(scheduling_strategy=there).remote()
    ray.get([actor.answer.remote(0) for actor in actors.values()])
    found = []
    for source, asking in actors.items():
        for target, answering in actors.items():
            if source != target:
                taken, lost = ray.get(asking.ask.remote(answering, times, seconds))
                found.append((source, target, taken, lost))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
