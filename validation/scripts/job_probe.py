"""Tiny jobs on every node of a cluster, at request. Run by ``stack.driver`` as ``-c`` text.

``ADDRESS NODES``, of which the second is a JSON object, name of each node to its address: prints
``ready``. For each line ``NONCE SECONDS`` on stdin, one actor on each node hashes the nonce and the
node's name; after at most that many seconds one line of JSON follows: ``{"nonce": ..., "answers":
{node: hash}}``. Actors stay, because a worker process takes seconds to start under a node's quota;
one that is lost is started again within the same request.
"""

import hashlib
import json
import logging
import os
import sys
import time
from typing import Any

import ray as typed
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ga.execution.ray.connection import local_address

# Ray's types omit the attributes of an actor class.
ray: Any = typed


class Hash:
    """The job."""

    def work(self, text: str) -> tuple[str, str]:
        """SHA-256 of the text, and the id of the node that computed it."""
        return hashlib.sha256(text.encode()).hexdigest(), ray.get_runtime_context().get_node_id()


class Jobs:
    """One actor on each node."""

    def __init__(self, nodes: dict[str, str]) -> None:
        self._nodes = nodes
        self._kind = ray.remote(num_cpus=0, max_restarts=0)(Hash)
        self._actors: dict[str, tuple[str, Any]] = {}
        """Node to its id in the cluster and its actor."""

    def run(self, nonce: str, seconds: float) -> dict[str, str]:
        """Node to the hash that it computed itself; without those that did not in time."""
        deadline = time.monotonic() + seconds
        found: dict[str, str] = {}
        while (left := [n for n in self._nodes if n not in found]) and (
            rest := deadline - time.monotonic()
        ) > 0:
            alive = found_nodes(self._nodes, [n for n in ray.nodes() if n["Alive"]])
            asked = {
                self._actor(node, alive[node]).work.remote(f"{nonce}/{node}"): node
                for node in left
                if node in alive
            }
            done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=rest)
            for answer in done:
                node = asked[answer]
                try:
                    value, place = ray.get(answer)
                except ray.exceptions.RayError:
                    # Its node or process was lost: a new one gets the job, if there is time.
                    self._actors.pop(node, None)
                else:
                    if place == alive[node]:
                        found[node] = value
            if len(found) < len(self._nodes):
                time.sleep(0.2)
        return found

    def _actor(self, node: str, identity: str) -> Any:
        known = self._actors.get(node)
        if known is None or known[0] != identity:
            there = NodeAffinitySchedulingStrategy(identity, soft=False)
            known = identity, self._kind.options(scheduling_strategy=there).remote()
            self._actors[node] = known
        return known[1]


def found_nodes(nodes: dict[str, str], alive: list[dict[str, Any]]) -> dict[str, str]:
    """Node to its id in the cluster: by the name that Ray knows, or else by its address.

    Containers that a team deployed were given no name by which Ray knows them; nodes of one machine
    can have one address.
    """
    names = {one["NodeName"]: one["NodeID"] for one in alive}
    found = {}
    for node, address in nodes.items():
        there = [one["NodeID"] for one in alive if one["NodeManagerAddress"] == address]
        if node in names:
            found[node] = names[node]
        elif len(there) == 1:
            found[node] = there[0]
    return found


def main(address: str, nodes: dict[str, str]) -> None:
    """Serve requests until stdin ends."""
    ray.init(
        address=address,
        _node_ip_address=local_address(address),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    jobs = Jobs(nodes)
    # Nobody reads this pipe while jobs are asked for, and two days of warnings would fill it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    print("ready", flush=True)
    for line in sys.stdin:
        nonce, seconds = line.split()
        print(json.dumps({"nonce": nonce, "answers": jobs.run(nonce, float(seconds))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
