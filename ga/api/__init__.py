"""The Python API: ``load_market``, ``evolve``, ``load_run``. ``import ga`` exports its names."""

from ga.api.loading import load_market
from ga.api.results import Run, Strategy
from ga.api.running import evolve, load_run
from ga.errors import ClusterError, GaError, InputError, LedgerError, MachineError
from ga.market import Market
from ga.runner import Progress

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
