"""The interface of all evaluators, and the division of genomes into batches."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ga.evaluation.evaluate import Batch
from ga.evaluation.settings import Outcome
from ga.execution.numerics_check import Proof
from ga.families import get_family
from ga.genome import Genome

MIN_BATCH_SECONDS: Final = 0.03
MAX_BATCH_SECONDS: Final = 0.2
"""CPU seconds of a batch: long compared with Ray's milliseconds per task, short compared with a
generation. This is the longest one up to 200 slots; see ``max_batch_seconds``.
"""
BATCH_SECONDS_A_SLOT: Final = 0.001
MOST_BATCH_SECONDS: Final = 2.0
BATCHES_A_SLOT: Final = 2
"""Maximum batches in flight per slot: one running, one queued."""
PATIENCE_SECONDS: Final = 60.0
"""Minimum seconds of a batch before its worker counts as hung."""
TRIES_ALONE: Final = 3
"""Worker processes that one genome, evaluated alone, must crash before it is quarantined."""
HANGS_ALONE: Final = 2
"""Worker processes that one genome, evaluated alone, must hang before it is quarantined."""
TOO_SLOW: Final = "took longer than"
CRASHED: Final = "crashed its worker"
"""Prefixes of the errors of quarantined genomes."""
_GENEROUS: Final = 50.0
"""A batch may take this many times its estimated CPU time, for slow and busy nodes."""
_LEARNING_RATE: Final = 0.3
_GUESS: Final = 0.002
_GUESS_LEARNED: Final = 0.03


@dataclass(frozen=True, kw_only=True)
class FailedAttempt:
    """A failed or superseded attempt at a batch."""

    node: str
    """See ``BatchResult``."""
    outcome: str
    """lost, crashed, memory, hung, withdrawn (with the rest of its batch), or overtaken (by a
    copy).
    """
    error: str
    at: float
    """Unix seconds when it was abandoned."""


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """A finished batch."""

    indices: tuple[int, ...]
    """Indices into the requested genomes."""
    batch: Batch
    node: str
    """Address of the node that evaluated it; ``local`` on this machine."""
    attempt: int = 0
    """Number of earlier attempts; 0 for the first."""
    seconds: float = 0.0
    """Seconds from the first dispatch of these genomes to their result."""
    tried: tuple[FailedAttempt, ...] = ()
    """The other attempts at these genomes. The last attempt at a quarantined genome is not among
    them, because its error reports it.
    """


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """A node that was checked before it got work."""

    id: str
    """Unique id; a node that is repaired and joins again has another. ``local`` on this machine."""
    node: str
    """Address, see ``BatchResult``."""
    processor: str
    kernel_version: int
    digest: str
    """Digest of the whole numerics check (``ga.execution.numerics_check``); empty if it was not
    run.
    """
    refused: str | None = None
    """Why the node gets no work; None if it does."""


def report(proof: Proof, *, id: str, node: str) -> NodeReport:
    """The result of a node's numerics check."""
    return NodeReport(
        id=id,
        node=node,
        processor=proof.processor,
        kernel_version=proof.kernel_version,
        digest=proof.digest,
        refused=proof.refusal,
    )


UnansweredAttempts = Mapping[int, tuple[FailedAttempt, ...]]
"""Index of a requested genome -> its attempts, all failed or superseded."""


class Evaluator(Protocol):
    """Interface of evaluators. Results do not depend on the evaluator."""

    @property
    def mode(self) -> str:
        """``local`` or ``distributed``."""
        ...

    @property
    def workers(self) -> int:
        """Number of evaluations that can run concurrently now."""
        ...

    @property
    def unanswered_attempts(self) -> UnansweredAttempts:
        """Attempts of the last ``evaluate`` without a result, because it was abandoned or
        failed.
        """
        ...

    @property
    def nodes(self) -> Sequence[NodeReport]:
        """Every node that has been checked so far, in the order of the checks."""
        ...

    def warm_up(self) -> None:
        """Load code and market on the workers, so that the first generation is as fast as the
        others.
        """
        ...

    def evaluate(self, genomes: Sequence[Genome]) -> Iterator[BatchResult]:
        """Yield every genome's outcome once, in batches, in any order.

        Raises:
            ClusterError: the workers are lost permanently; yielded results stay valid.
        """
        ...

    def close(self) -> None:
        """Free the workers."""
        ...


class CostModel:
    """Running estimate of the CPU seconds of a genome, by family."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def estimate(self, family: str) -> float:
        """Seconds for one genome; a default for a family without measurements."""
        known = self._seconds.get(family)
        if known is not None:
            return known
        return _GUESS_LEARNED if get_family(family).learned else _GUESS

    def total(self, genomes: Sequence[Genome]) -> float:
        """Seconds for all of them."""
        counts = Counter([g.family for g in genomes])
        return sum(self.estimate(family) * count for family, count in counts.items())

    def learn(self, genomes: Sequence[Genome], seconds: float) -> None:
        """Update the estimates with a measured batch. Batches usually contain one family; otherwise
        the shares of the families are scaled.
        """
        expected = self.total(genomes)
        if expected <= 0.0 or seconds <= 0.0:
            return
        ratio = seconds / expected
        for family in {g.family for g in genomes}:
            old = self._seconds.get(family)
            new = self.estimate(family) * ratio
            self._seconds[family] = (
                new if old is None else (1 - _LEARNING_RATE) * old + _LEARNING_RATE * new
            )


class SuspendAwareClock:
    """Seconds that this process was running, if the clock is read every second.

    A pause of the process or of the whole machine adds one second at most, so that workers that
    were paused at the same time do not count as hung.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._last, self._seconds = now, now(), 0.0

    def __call__(self) -> float:
        """The seconds until now."""
        last, self._last = self._last, self._now()
        self._seconds += min(self._last - last, 1.0)
        return self._seconds


def batch_timeout(genomes: Sequence[Genome], costs: CostModel, patience: float) -> float:
    """Wall seconds after which the worker of a batch counts as hung."""
    return max(patience, _GENEROUS * costs.total(genomes))


def failed_attempt(node: str, outcome: str, error: str) -> FailedAttempt:
    """An attempt that is abandoned now."""
    return FailedAttempt(node=node, outcome=outcome, error=error, at=time.time())


def quarantined(key: str, error: str) -> Batch:
    """The answer for a genome that no worker can evaluate."""
    now = time.time()
    outcome = Outcome(key=key, fitness=None, error=error)
    return Batch(outcomes=(outcome,), cpu_seconds=0.0, started_at=now, finished_at=now)


def too_slow(seconds: float) -> str:
    """The error of a genome that hangs."""
    return f"{TOO_SLOW} {seconds:.0f} s"


def crashed(how: str) -> str:
    """The error of a genome that ends its worker process."""
    return f"{CRASHED} {TRIES_ALONE} times ({how})"


def make_batches(genomes: Sequence[Genome], costs: CostModel, slots: int) -> list[tuple[int, ...]]:
    """Cut genomes into batches, largest first and smaller near the end.

    Guided self-scheduling (Polychronopoulos and Kuck, 1987): each batch takes a fixed share of the
    rest, so that all slots finish together. Batches contain one family, because kernels take one
    family. The most expensive families come first; then a wrong estimate has little effect, because
    the last batches are cheap.
    """
    by_family: dict[str, list[int]] = {}
    for index, genome in enumerate(genomes):
        by_family.setdefault(genome.family, []).append(index)
    estimates = {family: costs.estimate(family) for family in by_family}
    left = sum(estimates[family] * len(indices) for family, indices in by_family.items())
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    filled = 0.0
    limit = _limit(left, slots)
    for family in sorted(by_family, key=lambda name: (-estimates[name], name)):
        cost = estimates[family]
        for index in by_family[family]:
            current.append(index)
            filled += cost
            if filled >= limit:
                batches.append(tuple(current))
                left -= filled
                current, filled = [], 0.0
                limit = _limit(left, slots)
    if current:
        batches.append(tuple(current))
    return batches


def batch_count(slots: int) -> int:
    """Target number of remaining batches: two in flight per slot, and some more for slots that
    finish early. A single slot needs no reserve.
    """
    return 3 * slots + 4 if slots > 1 else 0


def max_batch_seconds(slots: int) -> float:
    """Seconds of the longest batch: 0.2 up to 200 slots, 1 ms a slot above, at most 2.

    One process dispatches all batches. With a length that grows it dispatches at most 1,000 a
    second to 2,000 slots, and not 10,000. A lost node costs the two batches of each of its slots.
    """
    return min(max(BATCH_SECONDS_A_SLOT * slots, MAX_BATCH_SECONDS), MOST_BATCH_SECONDS)


def max_in_flight(slots: int, todo: int) -> int:
    """In-flight limit per slot, given the number of queued batches.

    A second batch is queued on the slot, so that it does not idle for a round trip. The last
    batches go to the slot that is free first.
    """
    return 1 if 1 < slots >= todo else BATCHES_A_SLOT


def _limit(left: float, slots: int) -> float:
    """Seconds of the next batch for a remaining amount of work."""
    parts = batch_count(slots)
    longest = max_batch_seconds(slots)
    return max(min(left / parts, longest), MIN_BATCH_SECONDS) if parts else longest


def warmup_genomes(families: Sequence[str]) -> list[Genome]:
    """One genome per family, in the middle of its bounds, to warm up a worker and measure its
    speed.
    """
    found = []
    for name in families:
        family = get_family(name)
        middle = tuple(g.clip((g.low + g.high) / 2) for g in family.genes)
        found.append(Genome(name, middle))
    return found
