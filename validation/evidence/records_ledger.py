"""Records of a workload's content in the ledger, and of inputs that the engine refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import NonNegativeFloat, NonNegativeInt

from validation.evidence.base import Record

Counts: TypeAlias = Mapping[str, NonNegativeInt]
"""A number of things by their name."""


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
    """The ledger of one workload, compared with its plan."""

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
    """Of those, the number with another result."""
    content: str | None = None
    """Digest over every table and column of the run that equal plans make equal."""
    sample_seed: str | None = None
    """Seed of the random part of the sample; another one for each run."""
    winners: NonNegativeInt | None = None
    """Of the sample, the best of each generation and family, and the final strategies."""
    independent: NonNegativeInt | None = None
    """Of the sample, the evaluations that the independent path judged."""
    independent_differing: NonNegativeInt | None = None
    """Of those, the number that differ beyond its tolerance."""
    undecided: NonNegativeInt | None = None
    """Evaluations that decide by less than rounding, so that it cannot judge them."""
    without_path: tuple[str, ...] | None = None
    """Families in the sample that only the engine can repeat."""
    final_strategies: NonNegativeInt | None = None
    """Final strategies whose Sharpe ratios were repeated, too."""
    irregular: NonNegativeInt | None = None
    """Wrong values in columns that differ between equal runs: attempts, modes, nodes."""
    from_cache: NonNegativeInt | None = None
    """Evaluations that no worker did: outcomes of the result cache."""


@dataclass(frozen=True, kw_only=True)
class NodeCheck(Record):
    """The engine's numerics check of a node before it gets work. A node that answered without a
    check has an empty digest.
    """

    KIND = "node_check"
    workload: str
    node: str
    """Address; ``local`` for this machine."""
    processor: str
    digest: str
    """Digest of the fixed evaluations that every node does first; empty if they failed."""
    refused: str | None
    """Why the node was given no work."""


@dataclass(frozen=True, kw_only=True)
class Fallback(Record):
    """What this machine did of a workload that was sent to a cluster; written for each of them."""

    KIND = "fallback"
    workload: str
    count: NonNegativeInt
    """Failovers, because the cluster was lost."""
    generations: tuple[NonNegativeInt, ...] | None = None
    """Generations of which this machine evaluated individuals."""
    at: tuple[NonNegativeFloat, ...] | None = None
    """Unix seconds of each failover."""


@dataclass(frozen=True, kw_only=True)
class Coordinator(Record):
    """Memory of the process that bred and committed a workload, and of its children."""

    KIND = "coordinator"
    workload: str
    at: tuple[NonNegativeFloat, ...]
    """Unix seconds of each reading."""
    memory_bytes: tuple[NonNegativeInt, ...]
    """Anonymous memory at each reading, from /proc."""
    generations: tuple[NonNegativeInt, ...]
    """Generations committed at each reading, as the process reported them."""


@dataclass(frozen=True, kw_only=True)
class Restore(Record):
    """A backup of the ledger, restored into an empty one of another kind or place."""

    KIND = "restore"
    workload: str
    """Id of the run that is compared."""
    while_running: bool
    """The whole backup was taken while the run was active."""
    generation: NonNegativeInt
    """Last generation in the backup."""
    digest_before: str | None
    """Digest of that generation in the original ledger."""
    digest_after: str | None
    """The same digest, recomputed from the restored rows."""
    individuals_before: NonNegativeInt
    """Number up to that generation in the original ledger."""
    individuals_after: NonNegativeInt
    damaged_refused: bool
    """The same file with one byte changed was refused, and no row of it was kept."""


@dataclass(frozen=True, kw_only=True)
class LedgerCopy(Record):
    """A restored ledger, compared with its source by the gate's own SQL, row by row. The tables and
    columns are those that the databases list.
    """

    KIND = "ledger_copy"
    moment: str
    """When the backup was taken: ``running``, while a run was writing; ``at rest``; or ``every
    table``, of a small ledger that has rows in all tables.
    """
    source: str
    """``sqlite`` or ``postgresql``, the kind of database; ``copy``: that of the restored ledger."""
    copy: str
    rows: Counts
    """Table of the source -> its rows that the copy must hold, each compared in every column."""
    differing: tuple[str, ...]
    """Tables, columns and rows that differ, each with the number and names of a few rows."""


@dataclass(frozen=True, kw_only=True)
class Refusal(Record):
    """Reaction of the engine's command line to one bad input."""

    KIND = "refusal"
    input: str
    """Which kind of bad input."""
    exit_code: int
    message: str
    """Everything that it wrote to stderr."""
    must_name: str
    """Text that the message must contain: the invalid file, row, column or option."""
    ledger_changed: bool


@dataclass(frozen=True, kw_only=True)
class Individuals(Record):
    """Every individual of one generation in the ledger after its workload had ended.

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
