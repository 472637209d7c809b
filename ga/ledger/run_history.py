"""The whole stored history of one run, for verification; not for resuming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import sqlalchemy as sa

from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.evolution import GENESIS, advance_digest
from ga.genome import Genome
from ga.ledger.columns import DamagedError
from ga.ledger.decoding import undamaged
from ga.ledger.nodes import nodes_of
from ga.ledger.records import (
    Attempt,
    NodeRecord,
    RunRecord,
    filled,
    genome_of,
    outcome_of,
    record_of,
)
from ga.ledger.schema import attempts, evaluations, generations, individuals, runs

_CHUNK: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One stored evaluation."""

    genome: Genome
    outcome: Outcome
    generation: int
    """The generation stored with it."""


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One stored generation."""

    failed: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class History:
    """All rows of one run, unchecked."""

    record: RunRecord
    generations: Mapping[int, Generation]
    members: Mapping[int, tuple[tuple[int, str], ...]]
    """generation -> (index, key) in the order of the indices."""
    evaluations: Mapping[str, Evaluation]
    attempts: tuple[tuple[int, Attempt], ...]
    """(generation, attempt)."""
    nodes: tuple[NodeRecord, ...] = ()

    def digests(self) -> dict[int, str]:
        """generation -> the history's digest after it, recomputed from individuals and
        evaluations.
        """
        found, digest = {}, GENESIS
        for generation in sorted(self.members):
            keys = (key for _, key in self.members[generation])
            have = [self.evaluations[key].outcome for key in keys if key in self.evaluations]
            digest = advance_digest(digest, have)
            found[generation] = digest
        return found

    def first_difference(self) -> int | None:
        """The first generation whose stored digest does not match its rows; None if all match."""
        stored = {number: one.digest for number, one in self.generations.items()}
        found = self.digests()
        differing = (n for n in sorted(stored.keys() | found) if stored.get(n) != found.get(n))
        return next(differing, None)


def first_difference(connection: sa.Connection, run: str) -> int | None:
    """The first generation whose stored digest does not match its rows; None if all match. Unlike
    ``read`` it needs no memory for the rows.
    """
    rows = sa.select(generations.c.generation, generations.c.digest)
    rows = rows.where(generations.c.run == run).order_by(generations.c.generation)
    stored = {row.generation: row.digest for row in connection.execute(rows)}
    digest, found = GENESIS, set()
    for generation, members in groupby(_members(connection, run), key=lambda row: row[0]):
        digest = advance_digest(digest, [Outcome(key=key, fitness=f) for _, key, f in members])
        if stored.get(generation) != digest:
            return int(generation)
        found.add(generation)
    return next((number for number in stored if number not in found), None)


def _members(connection: sa.Connection, run: str) -> Iterator[tuple[int, str, float | None]]:
    """Generation, key and fitness of every evaluated individual of a run, in order.

    Not joined: without statistics of a new table PostgreSQL compares every row with each.
    """
    one, other = individuals.c, evaluations.c
    ordered = sa.select(one.generation, one.key).where(one.run == run)
    ordered = ordered.order_by(one.generation, one["index"]).execution_options(yield_per=_CHUNK)
    for part in connection.execute(ordered).partitions():
        wanted = other.key.in_({row.key for row in part})
        rows = connection.execute(
            sa.select(other.key, other.fitness).where(other.run == run, wanted)
        )
        fitness = {row.key: row.fitness for row in rows}
        for generation, key in part:
            if key in fitness:
                yield generation, key, fitness[key]


def read(connection: sa.Connection, run: str) -> History:
    """Read a run; use a snapshot if it is being evolved.

    Raises:
        InputError: no such run.
        LedgerError: its rows cannot be read as a run.
    """
    with undamaged(run):
        return _read(connection, run)


def _read(connection: sa.Connection, run: str) -> History:
    row = connection.execute(sa.select(runs).where(runs.c.run == run)).first()
    if row is None:
        raise InputError(f"run {run}: no such run; list them with: python -m ga runs")
    own = {table: table.c.run == run for table in (generations, evaluations, individuals, attempts)}
    stored = {}
    for one in connection.execute(sa.select(generations).where(own[generations])):
        filled(generations, one)
        stored[one.generation] = Generation(failed=one.failed, digest=one.digest)
    order = (individuals.c.generation, individuals.c["index"])
    members: dict[int, list[tuple[int, str]]] = {}
    query = sa.select(*order, individuals.c.key).where(own[individuals]).order_by(*order)
    for generation, index, key in connection.execute(query):
        if None in (generation, index, key):
            raise DamagedError("individuals", "key", "a row has empty columns", run)
        members.setdefault(generation, []).append((index, key))
    evaluated = {
        one.key: Evaluation(
            genome=genome_of(one), outcome=outcome_of(one), generation=one.generation
        )
        for one in connection.execute(sa.select(evaluations).where(own[evaluations]))
    }
    query = sa.select(attempts).where(own[attempts])
    tries = connection.execute(query.order_by(attempts.c.generation, attempts.c.number)).all()
    for one in tries:
        filled(attempts, one)
    return History(
        record=record_of(connection, row),
        generations=stored,
        members={generation: tuple(found) for generation, found in members.items()},
        evaluations=evaluated,
        attempts=tuple(
            (
                one.generation,
                Attempt(
                    key=one.key,
                    attempt=one.attempt,
                    node=one.node,
                    outcome=one.outcome,
                    error=one.error,
                    at=one.at,
                ),
            )
            for one in tries
        ),
        nodes=tuple(nodes_of(connection, run)),
    )
