"""Verify a run: recompute its digest, its breeding and a sample of its evaluations.

    python examples/verify_run.py

Then the script changes one stored fitness, as a defective disk might, and verifies again.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any


def ga(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run one command of the engine; its exit status and the object that it prints."""
    command = [sys.executable, "-m", "ga", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr.decode())
    return done.returncode, json.loads(done.stdout)


def report(status: int, found: dict[str, Any]) -> None:
    """Print what `verify` found."""
    counts = ", ".join(f"{found[name]} {name}" for name in ("lost", "doubled", "different"))
    print(f"exit status {status}: {found['individuals']} individuals, {counts}")
    for witness in found["witnesses"]:
        print(f"  {witness}")


def main() -> None:
    """Verify a run, change one result in the ledger, and verify again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        store = ("--store", f"sqlite:///{file}")
        market = ("--market", "synthetic:bars=2000,seed=1", "--families", "ema_crossover")
        size = ("--population-size", "40", "--generations", "4", "--seed", "7")
        _, run = ga("evolve", *market, *size, *store, "--mode", "local", "--workers", "1")
        report(*ga("verify", run["run"], *store))
        with closing(sqlite3.connect(file)) as database, database:
            query = "UPDATE evaluations SET fitness = fitness + 0.001 WHERE key IN"
            database.execute(f"{query} (SELECT key FROM evaluations LIMIT 1)")
        report(*ga("verify", run["run"], *store, "--stored"))


if __name__ == "__main__":
    main()
