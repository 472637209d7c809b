"""The names of the Ray tasks that evaluate, and so of the processes that carry them out.

Ray gives a worker process the name of its task while it has one. Who watches a cluster from outside
sees by it which process evaluates. This module needs neither Ray nor numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EVALUATE: Final = "_evaluate"
"""A batch, in the worker process itself."""
EVALUATE_APART: Final = "_evaluate_apart"
"""Suspected genomes, each in a process of its own."""
PROCESS_NAMES: Final = (f"ray::{EVALUATE}", f"ray::{EVALUATE_APART}")
"""Names of worker processes while they evaluate."""


def evaluates(command: Sequence[str]) -> bool:
    """Whether the command line of a process is that of a worker that evaluates now."""
    return bool(command) and command[0].startswith(PROCESS_NAMES)
