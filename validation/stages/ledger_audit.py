"""Independent audit of the ledger: planned against stored individuals, and their correctness.

Counts and digest come from plain SQL and from a digest computed here, not from the engine's own
code. Only the sample of repeated evaluations calls the engine, through its public interface.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import sqlalchemy as sa

from validation.evidence.operations import parse_ranges
from validation.evidence.records_ledger import Audit, Generation, Individuals
from validation.scripts.evaluate_again import evaluate_again
from validation.stages.evolve_process import WorkloadSpec

SAMPLE: Final = 24
"""Evaluations repeated per run: a defect in one of ten results is missed in 8 of 100 runs."""
_WITNESSES: Final = 5
_SAMPLE_PURPOSE: Final = 0xA0D17


@dataclass(frozen=True, kw_only=True)
class _Row:
    generation: int
    index: int
    key: str
    family: str | None
    genes: tuple[float, ...]
    fitness: float | None
    error: str | None


def find_run(store: str, *, since: float) -> str | None:
    """The newest run begun after ``since``, for a process that ended before it reported its run."""
    engine = sa.create_engine(store)
    try:
        if not sa.inspect(engine).has_table("runs"):
            return None
        with engine.connect() as connection:
            query = sa.text(
                "SELECT run FROM runs WHERE created_at >= :since ORDER BY created_at DESC"
            )
            row = connection.execute(query, {"since": since}).first()
    finally:
        engine.dispose()
    return None if row is None else str(row[0])


def read_generations(store: str, run: str, workload: str) -> list[Generation]:
    """The generations that the ledger shows committed."""
    query = sa.text(
        "SELECT g.generation, g.seconds, g.failed, g.finished_at, COUNT(i.key) AS individuals"
        " FROM generations g LEFT JOIN individuals i"
        " ON i.run = g.run AND i.generation = g.generation WHERE g.run = :run"
        " GROUP BY g.generation, g.seconds, g.failed, g.finished_at ORDER BY g.generation"
    )
    engine = sa.create_engine(store)
    try:
        with engine.connect() as connection:
            rows = connection.execute(query, {"run": run}).all()
    finally:
        engine.dispose()
    return [
        Generation(
            workload=workload,
            generation=int(row.generation),
            seconds=float(row.seconds),
            individuals=int(row.individuals),
            failed=int(row.failed),
            finished_at=float(row.finished_at),
        )
        for row in rows
    ]


def read_places(
    store: str, run: str, workload: str, spec: WorkloadSpec, *, acknowledged: Collection[int]
) -> list[Individuals]:
    """The places of individuals in the ledger, for every generation that was planned or is stored.

    Args:
        acknowledged: Generations that the process reported as committed.
    """
    engine = sa.create_engine(store)
    try:
        with engine.connect() as connection:
            rows, _ = _individuals(connection, run)
    finally:
        engine.dispose()
    held: dict[int, Counter[int]] = {
        generation: Counter() for generation in range(spec.generations)
    }
    for row in rows:
        if row.family is not None:
            held.setdefault(row.generation, Counter())[row.index] += 1
    return [
        Individuals(
            workload=workload,
            generation=generation,
            acknowledged=generation in acknowledged,
            found=parse_ranges(sorted(places)),
            again=parse_ranges(sorted((places - Counter(set(places))).elements())),
        )
        for generation, places in sorted(held.items())
    ]


def forget(store: str) -> None:
    """Remove all audited runs from a ledger, so that a soak does not fill the disk."""
    engine = sa.create_engine(store)
    try:
        with engine.begin() as connection:
            tables = sa.MetaData()
            tables.reflect(connection)
            # Child tables first. The table of the schema version belongs to no run.
            for table in reversed(tables.sorted_tables):
                if table.name != "alembic_version":
                    connection.execute(table.delete())
    finally:
        engine.dispose()


def audit(store: str, run: str, workload: str, spec: WorkloadSpec, *, seed: int) -> Audit:
    """Count, recompute and repeat one run's history.

    Args:
        seed: Seed of the choice of repeated evaluations.
    """
    engine = sa.create_engine(store)
    try:
        with engine.connect() as connection:
            rows, stray = _individuals(connection, run)
            stored = connection.execute(
                sa.text(
                    "SELECT digest FROM generations WHERE run = :run"
                    " ORDER BY generation DESC LIMIT 1"
                ),
                {"run": run},
            ).scalar()
            settings = connection.execute(
                sa.text("SELECT settings FROM runs WHERE run = :run"), {"run": run}
            ).scalar_one()
    finally:
        engine.dispose()
    seen = Counter((row.generation, row.index) for row in rows)
    planned = {(g, i) for g in range(spec.generations) for i in range(spec.population_size)}
    whole = {(r.generation, r.index) for r in rows if r.family is not None}
    lost = sorted(planned - whole)
    doubled = sorted(place for place, n in seen.items() if n > 1 or place not in planned)
    failed = [row for row in rows if row.family is not None and row.fitness is None]
    witnesses = [f"lost: generation {g} index {i}" for g, i in lost[:_WITNESSES]]
    witnesses += [
        f"doubled or unplanned: generation {g} index {i}" for g, i in doubled[:_WITNESSES]
    ]
    witnesses += [
        f"failed: generation {r.generation} index {r.index}: {r.error}" for r in failed[:_WITNESSES]
    ]
    if stray:
        witnesses.append(f"{stray} evaluations that belong to no individual")
    mismatches, sampled = _repeat(rows, spec, settings, seed)
    witnesses += mismatches[:_WITNESSES]
    return Audit(
        workload=workload,
        expected=len(planned),
        committed=len(whole & planned),
        lost=len(lost),
        doubled=len(doubled) + stray,
        failed=len(failed),
        witnesses=tuple(witnesses),
        digest=None if stored is None else str(stored),
        recomputed_digest=_digest(rows),
        sampled=sampled,
        mismatched=len(mismatches),
    )


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Progress of a run in the ledger."""

    generation: int
    """The last generation of the query; -1: none."""
    individuals: int
    """Number of individuals up to that generation."""
    digest: str | None
    """As stored."""
    recomputed: str


def standing(store: str, run: str, *, until: int | None = None) -> Standing:
    """State of a run in the ledger, up to a generation or to the last."""
    engine = sa.create_engine(store)
    try:
        with engine.connect() as connection:
            rows, _ = _individuals(connection, run)
            last = max((row.generation for row in rows), default=-1) if until is None else until
            query = sa.text(
                "SELECT digest FROM generations WHERE run = :run AND generation = :last"
            )
            stored = connection.execute(query, {"run": run, "last": last}).scalar()
    finally:
        engine.dispose()
    rows = [row for row in rows if row.generation <= last]
    return Standing(
        generation=last,
        individuals=sum(row.family is not None for row in rows),
        digest=None if stored is None else str(stored),
        recomputed=_digest(rows),
    )


def _individuals(connection: sa.Connection, run: str) -> tuple[list[_Row], int]:
    """All individuals with their evaluations, and the number of evaluations without an individual.

    Joined in Python: a database without statistics of its new tables may take minutes.
    """
    query = sa.text("SELECT key, family, genes, fitness, error FROM evaluations WHERE run = :run")
    found = {str(row.key): row for row in connection.execute(query, {"run": run})}
    query = sa.text(
        'SELECT generation, "index" AS place, key FROM individuals WHERE run = :run'
        ' ORDER BY generation, "index"'
    )
    rows = []
    for member in connection.execute(query, {"run": run}):
        row = found.get(str(member.key))
        genes = [] if row is None else row.genes
        # Plain SQL returns a JSON column as text from SQLite and as a list from PostgreSQL.
        numbers: Sequence[float] = json.loads(genes) if isinstance(genes, str) else genes
        rows.append(
            _Row(
                generation=int(member.generation),
                index=int(member.place),
                key=str(member.key),
                family=None if row is None else str(row.family),
                genes=tuple(float(v) for v in numbers),
                fitness=None if row is None else row.fitness,
                error=None if row is None else row.error,
            )
        )
    return rows, len(found.keys() - {row.key for row in rows})


def _digest(rows: Sequence[_Row]) -> str:
    digest = hashlib.sha256(b"genesis").digest()
    by_generation: dict[int, list[_Row]] = {}
    for row in rows:
        by_generation.setdefault(row.generation, []).append(row)
    for generation in sorted(by_generation):
        text = bytearray(digest)
        for row in by_generation[generation]:
            text += bytes.fromhex(row.key)
            text += b"failed" if row.fitness is None else struct.pack("<d", row.fitness)
        digest = hashlib.sha256(text).digest()
    return digest.hex()


def _repeat(
    rows: Sequence[_Row], spec: WorkloadSpec, stored: object, seed: int
) -> tuple[list[str], int]:
    """Evaluate a seeded sample again; returns the differences, and the number of repeated
    evaluations.
    """
    found = json.loads(stored) if isinstance(stored, str) else stored
    assert isinstance(found, Mapping)
    candidates = [row for row in rows if row.family is not None]
    if not candidates:
        return [], 0
    rng = np.random.Generator(np.random.Philox(key=[seed, _SAMPLE_PURPOSE]))
    picks = rng.choice(len(candidates), size=min(SAMPLE, len(candidates)), replace=False)
    chosen = [candidates[int(i)] for i in sorted(picks)]
    again = evaluate_again(spec.market, found, [(str(row.family), row.genes) for row in chosen])
    differing = []
    for row, (key, fitness) in zip(chosen, again, strict=True):
        if key != row.key or fitness != row.fitness:
            differing.append(
                f"generation {row.generation} index {row.index}: stored {row.fitness!r},"
                f" repeated {fitness!r}"
            )
    return differing, len(chosen)
