"""The history of every run: SQLite in a file by default, PostgreSQL by URL."""

from __future__ import annotations

from ga.ledger.opening import open_ledger
from ga.ledger.records import Attempt, NodeRecord, RunRecord, Sharpes, StrategyRecord
from ga.ledger.run_history import Evaluation, History
from ga.ledger.store import Ledger, new_run

__all__ = [
    "Attempt",
    "Evaluation",
    "History",
    "Ledger",
    "NodeRecord",
    "RunRecord",
    "Sharpes",
    "StrategyRecord",
    "new_run",
    "open_ledger",
]
