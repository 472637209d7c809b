"""Evaluators turn genomes into outcomes: on this machine, or on a Ray cluster.

What is exported here is imported at its first use. So ``ga.evaluators.tasks`` can be imported
without numba.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ga.evaluators.base import BatchResult, Evaluator
    from ga.evaluators.local import LocalEvaluator

__all__ = ["BatchResult", "Evaluator", "LocalEvaluator"]

_MODULES: Final = {
    "BatchResult": "ga.evaluators.base",
    "Evaluator": "ga.evaluators.base",
    "LocalEvaluator": "ga.evaluators.local",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
