"""Independent audit of the ledger: planned against stored individuals, and their correctness.

Counts and digests come from plain SQL and from code here, not from the engine. The winners and a
random sample are evaluated again: by the engine, bit for bit, and on the independent path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from validation.evidence.operations import parse_ranges
from validation.evidence.records_ledger import Audit, Generation, Individuals
from validation.stages.evolve_process import WorkloadSpec
from validation.stages.ledger_history import (
    choose,
    read_history,
    recomputed_digest,
    repeat,
    sample_seed,
)
from validation.stages.ledger_tables import content_digest, from_cache, irregular, opened

_WITNESSES: Final = 5


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
    with opened(store) as tables:
        rows = read_history(tables, run).rows
    held: dict[int, Counter[int]] = {
        generation: Counter() for generation in range(spec.generations)
    }
    for row in rows:
        if row.evaluation is not None:
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


def audit(
    store: str, run: str, workload: str, spec: WorkloadSpec, *, seed: int, cached: bool = False
) -> Audit:
    """Count, recompute and repeat one run's history.

    Args:
        seed: With the run's id it is the seed of the choice of repeated evaluations.
        cached: Whether outcomes may come from the result cache.
    """
    with opened(store) as tables:
        history = read_history(tables, run)
        content = content_digest(tables, run)
        odd = irregular(tables, run, planned=spec.generations, cached=cached)
        hits = from_cache(tables, run)
    rows = history.rows
    seen = Counter((row.generation, row.index) for row in rows)
    planned = {(g, i) for g in range(spec.generations) for i in range(spec.population_size)}
    whole = {(r.generation, r.index) for r in rows if r.evaluation is not None}
    lost = sorted(planned - whole)
    doubled = sorted(place for place, n in seen.items() if n > 1 or place not in planned)
    failed = [r for r in rows if r.evaluation is not None and r.evaluation.fitness is None]
    witnesses = [f"lost: generation {g} index {i}" for g, i in lost[:_WITNESSES]]
    witnesses += [
        f"doubled or unplanned: generation {g} index {i}" for g, i in doubled[:_WITNESSES]
    ]
    witnesses += [
        f"failed: generation {r.generation} index {r.index}: {r.evaluation and r.evaluation.error}"
        for r in failed[:_WITNESSES]
    ]
    if history.stray:
        witnesses.append(f"{history.stray} evaluations that belong to no individual")
    witnesses += [f"irregular: {text}" for text in odd[:_WITNESSES]]
    key = sample_seed(seed, run)
    chosen = choose(history, key)
    checked = repeat(history, chosen, spec.market)
    witnesses += [*checked.engine[:_WITNESSES], *checked.independent[:_WITNESSES]]
    return Audit(
        workload=workload,
        expected=len(planned),
        committed=len(whole & planned),
        lost=len(lost),
        doubled=len(doubled) + history.stray,
        failed=len(failed),
        witnesses=tuple(witnesses),
        digest=history.digest,
        recomputed_digest=recomputed_digest(rows),
        sampled=len(chosen.all),
        mismatched=len(checked.engine),
        content=content,
        sample_seed=str(key),
        winners=len(chosen.winners),
        independent=checked.decided,
        independent_differing=len(checked.independent),
        undecided=checked.undecided,
        without_path=checked.without_path,
        final_strategies=len(history.strategies),
        irregular=len(odd),
        from_cache=hits,
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
    with opened(store) as tables:
        history = read_history(tables, run)
    last = until
    if last is None:
        last = max((row.generation for row in history.rows), default=-1)
    rows = [row for row in history.rows if row.generation <= last]
    return Standing(
        generation=last,
        individuals=sum(row.evaluation is not None for row in rows),
        digest=history.digests.get(last),
        recomputed=recomputed_digest(rows),
    )
