"""The history of every run: SQLite in a file by default, PostgreSQL by URL."""

from __future__ import annotations

from ga.ledger.store import Committed, Ledger, RunRecord, StrategyRecord, open_ledger

__all__ = ["Committed", "Ledger", "RunRecord", "StrategyRecord", "open_ledger"]
