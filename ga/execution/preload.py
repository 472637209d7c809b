"""Modules that the clean process loads before it forks workers: their code, and the modules that
numba loads at the first call of a kernel, which takes as long. See ``ga.execution.forkserver``.
"""

from ga.execution import worker
from ga.execution.forkserver import remove_sockets_at_exit
from ga.families import signals

__all__ = ["worker"]

signals.room(0)
remove_sockets_at_exit()
