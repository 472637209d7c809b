"""The history of every run: SQLite in a file by default, PostgreSQL by URL."""

from __future__ import annotations

from ga.ledger.store import (
    Attempt,
    Committed,
    Ledger,
    RunRecord,
    StrategyRecord,
    open_ledger,
)

__all__ = ["Attempt", "Committed", "Ledger", "RunRecord", "StrategyRecord", "open_ledger"]
