"""``python -m ga.service.engine_process PARENT NICENESS COMMAND...``: the engine.

It ends with the service.

Imports nothing but the standard library: it is there for a moment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

NICENESS: Final = 15
"""By default evolution takes the processor time that requests leave."""
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> None:
    """Ask to be killed with the parent, step back behind it, and run ``python -m ga COMMAND``."""
    parent, niceness, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # It may have died before it was asked for.
    if os.getppid() != parent:
        raise SystemExit(1)
    os.nice(niceness)
    os.execv(sys.executable, [sys.executable, "-m", "ga", *command])


if __name__ == "__main__":
    main(sys.argv[1:])
