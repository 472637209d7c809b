"""The ledger's schema, step by step (alembic); ``ga.ledger.migrate`` runs them."""
