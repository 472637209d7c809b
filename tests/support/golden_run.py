"""The command whose history has the same digest on every processor."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = [
    *("evolve", "--market", "synthetic:assets=2,bars=3000,seed=1", "--seed", "7"),
    *("--generations", "5", "--json"),
]
RUN_MARKET = "9ec0dbf59670008b273578b1245555ff1ac4e1ed9df5188892d2e077e8fa9502"
RUN_DIGEST = "957925bd2c30773103130bb477e32b019328ba25808634c41c93521aa135e7f1"
RUN_EDGE = (0.515527682012512, 0.15582750582750582, 0.546962673512735)
"""Deflated Sharpe ratio, probability of overfitting and of a positive ratio in the hold-out."""
