"""The worker processes of the pools of this process."""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess


def worker_processes() -> list[BaseProcess]:
    """Those that are alive, the oldest first."""
    alive = [child for child in multiprocessing.active_children() if child.name == "ga-worker"]
    return sorted(alive, key=lambda child: child.pid or 0)
