"""The ledger's schema, step by step (alembic); ``ga.ledger.upgrade`` runs them."""
