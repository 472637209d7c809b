"""The URL of a store, as ``--store`` gives it."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from ga.errors import InputError


def url_of(store: str) -> URL:
    """The URL of a store, as ``--store`` gives it.

    Raises:
        InputError: not a file or URL, or of another database.
    """
    if not store.strip():
        # SQLite would open a database in memory, and the history would be lost.
        raise InputError("--store: empty; give a file, sqlite:///FILE or postgresql://...")
    try:
        store.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"--store {store}: has bytes that are not UTF-8; rename the file, or give another"
        ) from None
    if "://" not in store:
        return URL.create("sqlite", database=store)
    if store.startswith("sqlite:"):
        return _sqlite(store)
    try:
        url = make_url(store)
    except (sa.exc.ArgumentError, ValueError):
        # ValueError: an invalid port.
        raise InputError(
            "--store: not a URL; give sqlite:///FILE or postgresql://USER@HOST:PORT/NAME"
        ) from None
    if "@" in (url.host or ""):
        # The host contains the rest of a password, which the driver would print as a host name.
        raise InputError("--store: a password with @ in it must be written with %40 instead")
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise InputError(
            f"--store: {url.drivername} is not supported; give sqlite:///FILE or postgresql://..."
        )
    return url


def _sqlite(store: str) -> URL:
    """Check that the URL names exactly one file, without characters that have a meaning in a
    URL.
    """
    slashes, file = store[:10], store[10:]
    if slashes != "sqlite:///" or not file:
        raise InputError(
            f"--store {store}: names no file; give sqlite:///FILE, with three slashes (four before"
            " the rest of an absolute path), or the file alone"
        )
    if found := [letter for letter in "?#%" if letter in file]:
        raise InputError(
            f"--store {store}: {found[0]} means something else in a URL; give the file alone,"
            f" without sqlite:///"
        )
    return URL.create("sqlite", database=file)
