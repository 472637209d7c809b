"""The names of the evaluating Ray tasks, and so of the processes that execute them.

Ray gives a worker process the name of its current task. A monitor outside the cluster can see from
it which process evaluates. This module needs neither Ray nor numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EVALUATE: Final = "_evaluate"
"""Evaluation of a batch in the worker process itself."""
EVALUATE_APART: Final = "_evaluate_apart"
"""Evaluation of suspect genomes, each in a separate process."""
PROCESS_NAMES: Final = (f"ray::{EVALUATE}", f"ray::{EVALUATE_APART}")
"""Names of evaluating worker processes."""


def evaluates(command: Sequence[str]) -> bool:
    """Whether a command line is that of an evaluating worker process."""
    return bool(command) and command[0].startswith(PROCESS_NAMES)
