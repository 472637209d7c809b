"""Records of what the ledger held of a workload, and of what the engine refused."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record


@dataclass(frozen=True, kw_only=True)
class Generation(Record):
    """One generation that the ledger shows committed."""

    KIND = "generation"
    workload: str
    generation: NonNegativeInt
    """Counted from 0 or 1; only distinct numbers are counted."""
    seconds: NonNegativeFloat
    individuals: NonNegativeInt
    failed: NonNegativeInt
    """Individuals whose evaluation ended in an error."""
    finished_at: NonNegativeFloat


@dataclass(frozen=True, kw_only=True)
class Audit(Record):
    """The ledger of one workload, counted against what was asked for."""

    KIND = "audit"
    workload: str
    expected: NonNegativeInt
    """Individuals that the workload should have committed."""
    committed: NonNegativeInt
    lost: NonNegativeInt
    doubled: NonNegativeInt
    failed: NonNegativeInt
    witnesses: tuple[str, ...]
    """Names of individuals that are wrong, with the reason."""
    digest: str | None
    """Digest as stored."""
    recomputed_digest: str | None
    """The same digest, recomputed from the ledger's rows."""
    sampled: NonNegativeInt
    """Evaluations repeated independently."""
    mismatched: NonNegativeInt
    """Of those, how many gave another result."""


@dataclass(frozen=True, kw_only=True)
class NodeCheck(Record):
    """A node that the engine checked before it gave it work: does it compute the same bits? A node
    that answered without a check has an empty digest."""

    KIND = "node_check"
    workload: str
    node: str
    """Address; ``local`` for this machine."""
    processor: str
    digest: str
    """Of the fixed evaluations that every node does first; empty if it could not do them."""
    refused: str | None
    """Why the node was given no work."""


@dataclass(frozen=True, kw_only=True)
class Fallback(Record):
    """How often a workload went on on this machine because the cluster was lost."""

    KIND = "fallback"
    workload: str
    count: NonNegativeInt


@dataclass(frozen=True, kw_only=True)
class Restore(Record):
    """A backup of the ledger, read back into an empty one of another kind or place."""

    KIND = "restore"
    workload: str
    """The run that is compared."""
    while_running: bool
    """The backup was taken, from its first to its last row, while the run was going on."""
    generation: NonNegativeInt
    """The last one in the backup."""
    digest_before: str | None
    """Of that generation, in the ledger that was backed up."""
    digest_after: str | None
    """The same, recomputed from the restored rows."""
    individuals_before: NonNegativeInt
    """Up to that generation, in the ledger that was backed up."""
    individuals_after: NonNegativeInt
    damaged_refused: bool
    """The same file with one byte changed was refused, and nothing of it was kept."""


@dataclass(frozen=True, kw_only=True)
class Refusal(Record):
    """What the engine's command line did with one bad input."""

    KIND = "refusal"
    input: str
    """Which kind of bad input."""
    exit_code: int
    message: str
    """All that it wrote on stderr."""
    must_name: str
    """What the message must speak of: the file, row, column or option at fault."""
    ledger_changed: bool


@dataclass(frozen=True, kw_only=True)
class Individuals(Record):
    """Every individual of one generation as the ledger held it after its workload had ended.

    Places are indices in the generation, written as ranges: ``0-4,7``.
    """

    KIND = "individuals"
    workload: str
    generation: NonNegativeInt
    acknowledged: bool
    """Whether the process had reported this generation as committed."""
    found: str
    """Places with an individual and its evaluation."""
    again: str
    """Places held more than once; a place held three times is written twice."""
