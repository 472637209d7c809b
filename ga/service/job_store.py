"""Accepted evolutions in the ledger's database: every request answered with 202 is stored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from ga.errors import LedgerError
from ga.ledger import new_run
from ga.ledger.columns import DamagedError
from ga.ledger.decoding import undamaged
from ga.ledger.records import filled
from ga.ledger.request_check import fingerprint_of
from ga.ledger.schema import generations, individuals, requests, runs
from ga.service.models import OPEN, State

_ACCEPT_LOCK: Final = 0x6A_5E12_7E
"""The advisory lock for submissions on PostgreSQL; SQLite has only one writer."""


_CONDITIONS: Final = 200


class ConflictError(Exception):
    """The idempotency key was used with another body."""


class FullError(Exception):
    """The limit of waiting evolutions is reached."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One accepted evolution."""

    run: str
    state: State
    body: dict[str, Any]
    tries: int
    error: str | None
    created_at: float
    ended_at: float | None
    generation: int
    """Generations in the ledger."""
    digest: str | None


@dataclass(frozen=True, kw_only=True)
class GenerationEvent:
    """One generation in the ledger."""

    generation: int
    """From 0."""
    finished_at: float
    seconds: float
    failed: int
    digest: str


class JobStore:
    """Jobs in the table ``requests``; may be used from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(begin="IMMEDIATE")

    def accept(self, key: str, body: dict[str, Any], *, most: int) -> tuple[str, bool]:
        """Store a request durably; returns its run, and whether it is new.

        Raises:
            ConflictError: ``key`` was used with another body.
            FullError: there are ``most`` unfinished jobs.
        """
        fingerprint = fingerprint_of(body)
        run = new_run()
        with self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ACCEPT_LOCK)))
            query = sa.select(requests.c.run, requests.c.fingerprint)
            found = connection.execute(query.where(requests.c.idempotency_key == key)).first()
            if found is not None:
                if found.fingerprint != fingerprint:
                    raise ConflictError(key)
                return str(found.run), False
            waiting = sa.select(sa.func.count()).where(requests.c.state.in_(OPEN))
            if connection.execute(waiting).scalar_one() >= most:
                raise FullError
            row = {
                "run": run,
                "idempotency_key": key,
                "fingerprint": fingerprint,
                "body": body,
                "state": "queued",
                "tries": 0,
                "created_at": time.time(),
            }
            connection.execute(sa.insert(requests).values(row))
        return run, True

    def get(self, run: str) -> Job | None:
        """One job; None if it does not exist."""
        found = self._jobs(_query().where(requests.c.run == run))
        return found[0] if found else None

    def jobs(self, of: Sequence[str]) -> list[Job]:
        """The jobs of some runs, in any order."""
        return self._jobs(_query().where(requests.c.run.in_(of)))

    def newest(
        self,
        limit: int,
        state: State | None = None,
        *,
        market: str | None = None,
        since: float | None = None,
        after: tuple[float, str] | None = None,
    ) -> list[Job]:
        """Jobs, newest first.

        Args:
            since: only those that were accepted then or later.
            after: only those that come after this time of acceptance and run.
        """
        order = requests.c.created_at.desc(), requests.c.run.desc()
        query = _query().order_by(*order).limit(limit)
        if state is not None:
            query = query.where(requests.c.state == state)
        if market is not None:
            query = query.where(_market(requests.c.body) == market)
        if since is not None:
            query = query.where(requests.c.created_at >= since)
        if after is not None:
            at, run = after
            same = sa.and_(requests.c.created_at == at, requests.c.run < run)
            query = query.where(sa.or_(requests.c.created_at < at, same))
        return self._jobs(query)

    def unfinished(self, limit: int) -> list[Job]:
        """Unfinished jobs, oldest first; those with damaged rows are left out, so that they do not
        block the others.
        """
        query = _query().where(requests.c.state.in_(OPEN)).order_by(requests.c.created_at)
        query = query.limit(limit)
        try:
            return self._jobs(query)
        except LedgerError:
            with self._engine.connect() as connection:
                name = sa.type_coerce(requests.c.run, sa.String)
                names = connection.execute(query.with_only_columns(name)).scalars().all()
        found = []
        for one in names:
            with suppress(LedgerError):
                found += self._jobs(query.where(requests.c.run == one))
        return found

    def counts(self) -> dict[str, int]:
        """state -> number of jobs."""
        query = sa.select(requests.c.state, sa.func.count()).group_by(requests.c.state)
        with self._engine.connect() as connection:
            return {str(state): int(count) for state, count in connection.execute(query)}

    def begun(self, run: str) -> bool:
        """Whether the ledger contains the run, so that it must be resumed."""
        with self._engine.connect() as connection:
            query = sa.select(runs.c.run).where(runs.c.run == run)
            return connection.execute(query).first() is not None

    def move(
        self,
        run: str,
        state: State,
        *,
        error: str | None = None,
        tries: int | None = None,
    ) -> bool:
        """Change the state of an unfinished job; False if it has ended."""
        values: dict[str, Any] = {"state": state, "error": error}
        if state not in OPEN:
            values["ended_at"] = time.time()
        if tries is not None:
            values["tries"] = tries
        mine = sa.and_(requests.c.run == run, requests.c.state.in_(OPEN))
        with self._writing.begin() as connection:
            return connection.execute(sa.update(requests).where(mine).values(values)).rowcount == 1

    def events(self, run: str, after: int) -> list[GenerationEvent]:
        """The generations of a run after ``after`` (-1: all)."""
        return self.events_of({run: after}).get(run, [])

    def events_of(self, after: Mapping[str, int]) -> dict[str, list[GenerationEvent]]:
        """run -> its generations after a number; runs without one are left out."""
        found: dict[str, list[GenerationEvent]] = {}
        runs_ = list(after)
        with self._engine.connect() as connection:
            # In parts, because SQLite limits the depth of a condition.
            for first in range(0, len(runs_), _CONDITIONS):
                newer = (
                    sa.and_(generations.c.run == run, generations.c.generation > after[run])
                    for run in runs_[first : first + _CONDITIONS]
                )
                query = sa.select(generations).where(sa.or_(*newer))
                for row in connection.execute(query.order_by(generations.c.generation)):
                    filled(generations, row)
                    found.setdefault(row.run, []).append(
                        GenerationEvent(
                            generation=row.generation,
                            finished_at=row.finished_at,
                            seconds=row.seconds,
                            failed=row.failed,
                            digest=row.digest,
                        )
                    )
        return found

    def _jobs(self, query: sa.Select[Any]) -> list[Job]:
        with self._engine.connect() as connection, undamaged():
            rows: Sequence[Any] = connection.execute(query).all()
        for row in rows:
            filled(requests, row)
            _check(row)
        return [
            Job(
                run=row.run,
                state=cast(State, row.state),
                body=row.body,
                tries=row.tries,
                error=row.error,
                created_at=row.created_at,
                ended_at=row.ended_at,
                generation=0 if row.generation is None else int(row.generation) + 1,
                digest=row.digest,
            )
            for row in rows
        ]


def _check(row: sa.Row[Any]) -> None:
    """Check what a request's row says against itself, and against its generations.

    Raises:
        DamagedError: it cannot be so.
    """
    if row.state not in get_args(State):
        raise DamagedError("requests", "state", f"{row.state} is not a state", row.run)
    if (row.state in OPEN) != (row.ended_at is None):
        reason = f"of a request that is {row.state}"
        raise DamagedError("requests", "ended_at", reason, row.run)
    committed = 0 if row.generation is None else row.generation + 1
    if row.generation is not None and row.digest is None:
        raise DamagedError("generations", "digest", "there is no value", row.run)
    if row.number != committed or row.bred != row.generation:
        reason = f"{row.number} rows for {committed} generations"
        raise DamagedError("generations", "generation", reason, row.run)


def _market(body: sa.Column[Any]) -> sa.ColumnElement[str]:
    market: sa.ColumnElement[str] = sa.type_coerce(body, sa.JSON)["market"].as_string()
    return market


@cache
def _query() -> sa.Select[Any]:
    last = (
        sa.select(sa.func.max(generations.c.generation))
        .where(generations.c.run == requests.c.run)
        .correlate(requests)
        .scalar_subquery()
    )
    on = sa.and_(generations.c.run == requests.c.run, generations.c.generation == last)
    joined = requests.outerjoin(generations, on)
    number = sa.select(sa.func.count()).where(generations.c.run == requests.c.run)
    bred = sa.select(sa.func.max(individuals.c.generation))
    bred = bred.where(individuals.c.run == requests.c.run)
    columns = (
        generations.c.generation,
        generations.c.digest,
        number.correlate(requests).scalar_subquery().label("number"),
        bred.correlate(requests).scalar_subquery().label("bred"),
    )
    return sa.select(requests, *columns).select_from(joined)
