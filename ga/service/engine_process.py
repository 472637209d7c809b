"""``python -m ga.service.engine_process PARENT NICENESS COMMAND...``: the engine.

The process ends with the service.

Imports only the standard library, because it runs for a moment before it executes the engine.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

NICENESS: Final = 15
"""Default niceness, so that requests have priority over evolutions."""
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> None:
    """Request SIGKILL at the parent's death, set the niceness, and execute ``python -m ga
    COMMAND``.
    """
    parent, niceness, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the request.
    if os.getppid() != parent:
        raise SystemExit(1)
    os.nice(niceness)
    os.execv(sys.executable, [sys.executable, "-m", "ga", *command])


if __name__ == "__main__":
    main(sys.argv[1:])
