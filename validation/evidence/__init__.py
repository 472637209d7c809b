"""Evidence: the append-only log, its typed records, and queries on them."""
