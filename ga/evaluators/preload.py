"""What the clean process loads before it forks workers: their code, and what numba loads of its own
at the first call of any kernel, which takes as long again. See ``ga.forks``."""

from ga.evaluators import worker
from ga.families import scan

__all__ = ["worker"]

scan.room(0)
