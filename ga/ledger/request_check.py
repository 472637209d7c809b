"""Compares the service's request of a run with the run, for ``verify``.

A request has no anchor, because it changes until it has ended. What a history depends on is checked
otherwise: the body by its fingerprint, and the numbers of the body with the run, which is anchored.
Not checked: idempotency key, market, tries, error and times.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from ga.ledger.decoding import undamaged
from ga.ledger.schema import requests, runs


def compare_request(connection: sa.Connection, run: str) -> tuple[str, ...]:
    """What differs between a run and the request that began it; nothing if it has no request.

    Raises:
        LedgerError: a value is damaged.
    """
    with undamaged(run):
        query = sa.select(requests).where(requests.c.run == run)
        request = connection.execute(query).first()
        row = connection.execute(sa.select(runs).where(runs.c.run == run)).first()
        if request is None or row is None:
            return ()
        return tuple(_differences(request, row))


def fingerprint_of(body: Mapping[str, Any]) -> str:
    """The digest by which two requests are equal."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _differences(request: sa.Row[Any], row: sa.Row[Any]) -> Iterator[str]:
    if fingerprint_of(request.body) != request.fingerprint:
        yield "request: its body does not match its fingerprint"
    settings, costs = row.settings, row.settings["costs"]
    of_run = {
        "seed": int(row.seed),
        "population_size": row.population_size,
        "generations": row.generations,
        "folds": settings.get("folds"),
        "fee": costs.get("fee"),
        "slippage": costs.get("slippage"),
    }
    for name, value in of_run.items():
        if request.body.get(name, value) != value:
            yield f"request: its {name} is not that of the run"
    if request.state == "finished" and row.finished_at is None:
        yield "request: is finished, but its run has not ended"
