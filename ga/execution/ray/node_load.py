"""Kept counts of the dispatcher, so that no decision reads every node or every batch in flight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

_SPARE: Final = 64
"""Outdated entries that a heap may hold in addition to a multiple of the valid ones."""
_ROUNDING: Final = 1e-6
"""Seconds by which a sum and a difference of times may disagree; larger than any rounding."""

T = TypeVar("T")


class NodeLoads:
    """Batches in flight on each node, and the least busy node in constant time.

    The load of a node is its batches over its slots. Among equal loads the first node of the
    mapping counts as the least busy.
    """

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()
        self._nodes: Mapping[str, int] = {}
        self._places: dict[str, int] = {}
        self._heap: list[tuple[float, int, int, str]] = []
        """(load, place in the mapping, batches, node), outdated if the batches have changed."""
        self.slots = 0
        """Slots of all nodes."""

    def follow(self, nodes: Mapping[str, int]) -> None:
        """Use these nodes from now on; does nothing if it is the same mapping as before."""
        if nodes is not self._nodes:
            self._nodes = nodes
            self._places = {node: place for place, node in enumerate(nodes)}
            self.slots = sum(nodes.values())
            self._rebuild()

    def add(self, node: str, count: int = 1) -> None:
        """Count batches that were started on a node; it need not be one of the mapping."""
        self._busy[node] += count
        if not self._busy[node]:
            del self._busy[node]
        if node in self._places:
            if len(self._heap) > 4 * len(self._places) + _SPARE:
                self._rebuild()
            else:
                heappush(self._heap, self._entry(node))

    def remove(self, node: str) -> None:
        """Count a batch that ended or no longer needs its slot."""
        self.add(node, -1)

    def least_busy(self, below: float) -> str | None:
        """The least busy node; None if no load is below ``below``."""
        while self._heap:
            load, _, count, node = self._heap[0]
            if self._busy[node] == count:
                return node if load < below else None
            heappop(self._heap)
        return None

    def _entry(self, node: str) -> tuple[float, int, int, str]:
        count = self._busy[node]
        return count / self._nodes[node], self._places[node], count, node

    def _rebuild(self) -> None:
        self._heap = [self._entry(node) for node in self._nodes]
        heapify(self._heap)


class Deadlines(Generic[T]):
    """Items with a time, given back when it has come.

    Args:
        live: whether an item still counts; others are dropped.
        order: the order among due items; equal orders are equal items.
    """

    def __init__(self, live: Callable[[T], bool], order: Callable[[T], int]) -> None:
        self._live, self._order = live, order
        self._heap: list[tuple[float, int, T]] = []
        """(time, number of the entry, item), so that no items are compared."""
        self._numbers = count()
        self._compact_at = _SPARE

    def add(self, at: float, item: T) -> None:
        """Add an item that is due at a time; it may be added several times."""
        heappush(self._heap, (at, next(self._numbers), item))
        if len(self._heap) > self._compact_at:
            self._heap = [entry for entry in self._heap if self._live(entry[2])]
            heapify(self._heap)
            self._compact_at = 2 * len(self._heap) + _SPARE

    def due(self, now: float) -> list[T]:
        """Remove and return the items that may be due, by their order, each once.

        Within a microsecond of its time an item counts as due, so the caller decides exactly, and
        adds those again that are not.
        """
        found: dict[int, T] = {}
        while self._heap and self._heap[0][0] <= now + _ROUNDING:
            _, _, item = heappop(self._heap)
            if self._live(item):
                found[self._order(item)] = item
        return [found[order] for order in sorted(found)]
