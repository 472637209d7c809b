"""Stores for the gate's tests: SQLite, and a PostgreSQL of their own."""

from tests.support.engine_fixtures import server, store

__all__ = ["server", "store"]
