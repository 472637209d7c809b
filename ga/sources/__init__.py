"""Where markets come from. ``load_market`` turns what a user typed into a Market."""

from __future__ import annotations

import os
from pathlib import Path

from ga.errors import InputError
from ga.market import Market
from ga.sources.files import load_files
from ga.sources.samples import SAMPLES, load_sample
from ga.sources.synthetic import parse_synthetic, synthetic

__all__ = ["load_files", "load_market", "load_sample", "synthetic"]


def load_market(spec: str) -> Market:
    """Load ``eurusd``, ``goog``, ``synthetic[:key=value,...]``, a file, or a folder of files.

    Raises:
        InputError: nothing of that name, or its content is refused (file, row and column named).
    """
    if spec in SAMPLES:
        return load_sample(spec)
    if spec == "synthetic" or spec.startswith("synthetic:"):
        return synthetic(**parse_synthetic(spec))
    path = Path(spec)
    # os.path, unlike Path, has a plain "no" for a name that the system refuses outright.
    if not os.path.exists(path):
        known = ", ".join([*SAMPLES, "synthetic"])
        raise InputError(f"--market {spec}: no such file or folder; give a path or one of {known}")
    return load_files(path)
