"""Run by alembic: migrate on the connection, and in the transaction, of ``ga.ledger.migrate``."""

from __future__ import annotations

from alembic import context

from ga.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite has few ALTERs: there, alembic copies the table.
    render_as_batch=True,
)
context.run_migrations()
