"""A run's history as the gate reads it: its digest, and evaluations to repeat."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from validation.independent.evaluation import has_path
from validation.scripts.evaluate_again import Parts, Repeated, Stored, evaluate_again
from validation.stages.ledger_tables import Tables

SAMPLE: Final = 100
"""Random evaluations repeated per run, besides the winners: a defect in one of a hundred results is
missed in 37 of 100 runs, and by all of twenty runs once in 10^8 campaigns."""
LEARNED_SAMPLE: Final = 24
"""Of those, the most of families without an independent path. They learn, and an evaluation
takes a thousand times as long."""


@dataclass(frozen=True, kw_only=True)
class StoredEvaluation:
    """One row of ``evaluations``."""

    key: str
    family: str
    genes: tuple[float, ...]
    fitness: float | None
    trades: int
    drawdown: float
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Place:
    """One individual."""

    generation: int
    index: int
    key: str
    evaluation: StoredEvaluation | None


@dataclass(frozen=True, kw_only=True)
class StoredHistory:
    """A run in the ledger."""

    rows: tuple[Place, ...]
    """By generation and index."""
    evaluations: Mapping[str, StoredEvaluation]
    stray: int
    """Evaluations that belong to no individual."""
    digests: Mapping[int, str]
    """Generation -> digest, as stored."""
    strategies: Mapping[str, Parts]
    """Key of a final strategy -> its Sharpe ratios."""
    settings: Mapping[str, Any]

    @property
    def digest(self) -> str | None:
        """Of the last generation."""
        return self.digests[max(self.digests)] if self.digests else None


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Evaluations to repeat."""

    winners: tuple[StoredEvaluation, ...]
    """The best of each generation and of each family, and the final strategies."""
    drawn: tuple[StoredEvaluation, ...]
    """Others, at random."""

    @property
    def all(self) -> tuple[StoredEvaluation, ...]:
        """Each evaluation once."""
        return (*self.winners, *self.drawn)


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What repeated evaluations show."""

    engine: list[str]
    """Evaluations that the engine repeats with any other bit."""
    independent: list[str]
    """Evaluations that differ from the independent path beyond its tolerance."""
    decided: int
    """Evaluations that the independent path could judge."""
    undecided: int
    """Evaluations that decide by less than rounding."""
    without_path: tuple[str, ...]
    """Families that only the engine can repeat."""


def read_history(tables: Tables, run: str) -> StoredHistory:
    """Read a run."""
    names = ("key", "family", "genes", "fitness", "trades", "max_drawdown", "error")
    found = {}
    for key, family, genes, fitness, trades, drawdown, error in tables.values(
        "evaluations", run, *names
    ):
        found[str(key)] = StoredEvaluation(
            key=str(key),
            family=str(family),
            genes=tuple(float(value) for value in genes),
            fitness=fitness,
            trades=int(trades),
            drawdown=drawdown,
            error=error,
        )
    places = sorted(tables.values("individuals", run, "generation", "index", "key"))
    rows = tuple(
        Place(generation=int(g), index=int(i), key=str(key), evaluation=found.get(str(key)))
        for g, i, key in places
    )
    digests = tables.values("generations", run, "generation", "digest")
    parts = tables.values("strategies", run, "key", "in_sample", "out_of_sample", "holdout")
    ((settings,),) = tables.values("runs", run, "settings")
    return StoredHistory(
        rows=rows,
        evaluations=found,
        stray=len(found.keys() - {row.key for row in rows}),
        digests={int(generation): str(digest) for generation, digest in digests},
        strategies={str(key): (inside, outside, last) for key, inside, outside, last in parts},
        settings=settings,
    )


def recomputed_digest(rows: Sequence[Place]) -> str:
    """The digest of a history, from its rows."""
    digest = hashlib.sha256(b"genesis").digest()
    by_generation: dict[int, list[Place]] = {}
    for row in rows:
        by_generation.setdefault(row.generation, []).append(row)
    for generation in sorted(by_generation):
        text = bytearray(digest)
        for row in by_generation[generation]:
            fitness = None if row.evaluation is None else row.evaluation.fitness
            text += bytes.fromhex(row.key)
            text += b"failed" if fitness is None else struct.pack("<d", fitness)
        digest = hashlib.sha256(text).digest()
    return digest.hex()


def sample_seed(seed: int, run: str) -> int:
    """Seed of the choice of evaluations: another one for each run, and known afterwards."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{run}".encode()).digest()[:8], "big")


def choose(history: StoredHistory, seed: int) -> Chosen:
    """The winners of a run, and a sample of its other evaluations drawn with a seed."""
    best: dict[tuple[str, object], StoredEvaluation] = {}
    for row in history.rows:
        one = row.evaluation
        if one is None or one.fitness is None:
            continue
        for kind in (("generation", row.generation), ("family", one.family)):
            held = best.get(kind)
            if held is None or held.fitness is None or one.fitness > held.fitness:
                best[kind] = one
    winners = {one.key: one for one in best.values()}
    winners |= {
        key: history.evaluations[key] for key in history.strategies if key in history.evaluations
    }
    # Quarantined genomes could crash or exhaust the process that repeats them.
    rest = [
        one
        for key, one in sorted(history.evaluations.items())
        if key not in winners and one.fitness is not None
    ]
    rng = np.random.Generator(np.random.Philox(key=[seed, 0xA0D17]))
    drawn: list[StoredEvaluation] = []
    learned = 0
    for at in rng.permutation(len(rest)).tolist():
        if len(drawn) == SAMPLE:
            break
        if not has_path(rest[at].family):
            learned += 1
            if learned > LEARNED_SAMPLE:
                continue
        drawn.append(rest[at])
    return Chosen(winners=tuple(winners.values()), drawn=tuple(drawn))


def repeat(history: StoredHistory, chosen: Chosen, market: str) -> Differences:
    """Evaluate again, with the engine and on the independent path."""
    stored = [
        Stored(
            family=one.family,
            genes=one.genes,
            fitness=one.fitness,
            trades=one.trades,
            drawdown=one.drawdown,
            sharpes=history.strategies.get(one.key),
        )
        for one in chosen.all
    ]
    again = evaluate_again(market, history.settings, stored) if stored else []
    engine, apart, without = [], [], set()
    decided = undecided = 0
    for one, mine, found in zip(chosen.all, stored, again, strict=True):
        name = f"evaluation {one.key[:10]} ({one.family})"
        if not _same(one.key, mine, found):
            engine.append(f"{name}: stored {_shown(mine)}, repeated {_shown(found)}")
        if not found.path:
            without.add(one.family)
        elif found.apart is None:
            undecided += 1
        else:
            decided += 1
            if found.apart:
                apart.append(f"{name}: {found.apart}")
    lacking = sorted(history.strategies.keys() - history.evaluations.keys())
    engine += [f"final strategy {key[:10]} has no evaluation" for key in lacking]
    return Differences(
        engine=engine,
        independent=apart,
        decided=decided,
        undecided=undecided,
        without_path=tuple(sorted(without)),
    )


def _same(key: str, stored: Stored, found: Repeated) -> bool:
    # SQLite has no negative zero.
    values = (found.fitness, found.trades, found.drawdown + 0.0)
    return (
        key == found.key
        and (stored.fitness, stored.trades, stored.drawdown) == values
        and stored.sharpes == found.sharpes
    )


def _shown(one: Stored | Repeated) -> str:
    return repr((one.fitness, one.trades, one.drawdown, one.sharpes))
