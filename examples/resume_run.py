"""Interrupt a run with Ctrl-C, resume it, and compare it with a run that was not interrupted.

    python examples/resume_run.py

The two digests are equal: an interruption changes nothing in the history of a run.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.evolution import Evolution, Plan
from ga.sources import load_market

PLAN = Plan(seed=7, population_size=50, generations=120, families=("ema_crossover", "rsi_filter"))
MARKET = "synthetic:bars=2000,seed=1"
GA = [sys.executable, "-m", "ga"]
WORK = ["--mode", "local", "--workers", "1", "--json"]
PLANNED = ["--seed", "7", "--population-size", "50", "--generations", "120"]
PLANNED += ["--families", "ema_crossover,rsi_filter", "--market", MARKET]
RUN = "0123456789ab"


def interrupted(store: list[str], log: Path) -> int:
    """Start the run and send SIGINT after its first generation; the exit status."""
    command = [*GA, "evolve", *PLANNED, *WORK, *store, "--run-id", RUN, "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (log.exists() and "seconds" in log.read_text()):
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        return process.returncode


def uninterrupted() -> str:
    """The digest of the same run, evolved in this process."""
    market, evolution = visible(load_market(MARKET), Settings()), Evolution(PLAN)
    while not evolution.done:
        evolution.tell(evaluate(market, Settings(), evolution.ask()))
    return evolution.digest


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        place = ["--store", f"sqlite:///{folder}/ledger.db"]
        print(f"interrupted: exit status {interrupted(place, Path(folder) / 'log.jsonl')}")
        done = subprocess.run([*GA, "resume", RUN, *WORK, *place], capture_output=True, check=True)
    digests = json.loads(done.stdout)["digest"], uninterrupted()
    print(f"resumed digest       {digests[0]}\nuninterrupted digest {digests[1]}")
    print("equal" if digests[0] == digests[1] else "NOT equal")
