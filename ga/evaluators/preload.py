"""What the clean process loads before it forks workers: their code, and what numba loads of its own
at the first call of any kernel, which takes as long again. See ``ga.forks``."""

from ga.evaluators import worker
from ga.families import scan
from ga.forks import remove_sockets_at_exit

__all__ = ["worker"]

scan.room(0)
remove_sockets_at_exit()
