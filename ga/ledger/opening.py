"""Opens a ledger by its URL or file."""

from __future__ import annotations

import os

import sqlalchemy as sa

from ga.errors import InputError
from ga.ledger.connection import engine_of, file_of, problem, wait_for_restarts
from ga.ledger.migrate import make_file, upgrade
from ga.ledger.store import Ledger
from ga.store_url import url_of


def open_ledger(
    store: str, *, create: bool, wait: bool = True, seconds: float | None = None
) -> Ledger:
    """Open the ledger at a file or URL; with ``create``, make what is missing.

    A ledger of an earlier version is upgraded. With ``wait``, operations wait for a PostgreSQL that
    restarts; otherwise they raise an error at once. A call fails when PostgreSQL has been silent
    for ``seconds`` (None: ``ga.ledger.deadlines.answer_seconds``).

    Raises:
        InputError: it cannot be opened, is not a ledger, or is missing and ``create`` is false.
    """
    url = url_of(store)
    shown = url.render_as_string(hide_password=True)
    path = file_of(url)
    if path is not None:
        if not create and not path.exists():
            raise InputError(f"--store {shown}: no such file; run an evolution first")
        if not path.parent.is_dir():
            raise InputError(f"--store {shown}: folder {path.parent} does not exist; make it")
    engine = engine_of(url, seconds=seconds)
    try:
        if path is not None and create and not os.path.lexists(path):
            make_file(path, shown)
        upgrade(engine, shown, create=create)
    except sa.exc.DBAPIError as error:
        engine.dispose()
        raise InputError(f"--store {shown}: cannot be opened {problem(error, url)}") from None
    except BaseException:
        engine.dispose()
        raise
    if wait:
        wait_for_restarts(engine)
    return Ledger(engine)
