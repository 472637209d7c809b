"""The engine: trading strategies evolved by backtesting, on one machine or on a Ray cluster.

The names of the Python API are loaded at their first use, so that ``import ga`` stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = [
    "ClusterError",
    "GaError",
    "InputError",
    "LedgerError",
    "MachineError",
    "Market",
    "Progress",
    "Run",
    "Strategy",
    "evolve",
    "load_market",
    "load_run",
]

if TYPE_CHECKING:
    from ga.api import (
        ClusterError,
        GaError,
        InputError,
        LedgerError,
        MachineError,
        Market,
        Progress,
        Run,
        Strategy,
        evolve,
        load_market,
        load_run,
    )
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module("ga.api"), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
