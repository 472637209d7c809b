"""The command whose history has the same digest on every processor."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = [
    *("evolve", "--market", "synthetic:assets=2,bars=3000,seed=1", "--seed", "7"),
    *("--generations", "5", "--json"),
]
RUN_MARKET = "9ec0dbf59670008b273578b1245555ff1ac4e1ed9df5188892d2e077e8fa9502"
RUN_DIGEST = "3eac557a7fdb4dca474eb41480b1d41e81bc6391103721c40a0badb2968590e8"
RUN_EDGE = (0.4950918015279666, 0.12665112665112666, 0.5542188060691168)
"""Deflated Sharpe ratio, probability of overfitting and of a positive ratio in the hold-out."""
