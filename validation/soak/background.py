"""A soak that goes on without its terminal: a separate process, with its output in a file."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system.launch import detached
from ga.errors import InputError
from validation.soak.segments import Folder, Plan

CONSOLE: Final = "console.log"
"""Output of the process, in the folder of the soak."""
_EVERY_S: Final = 0.5


def command_of(plan: Plan, folder: Path) -> list[str]:
    """The command that continues a soak from its folder."""
    argv = [sys.executable, "-m", "validation", "soak", "--hours", f"{plan.hours:g}", "--resume"]
    argv += ["--out", str(folder)]
    # The only backend of which the manifest does not tell the whole option.
    return [*argv, "--simulate", plan.replay.split()[-1]] if plan.backend == "simulated" else argv


def in_background(folder: Folder) -> int:
    """Start the soak in a session of its own, and return its pid when it watches.

    Raises:
        InputError: it ended before; the message has the last line of its output. Its folder stays.
    """
    before = len(folder.segments)
    console = folder.path / CONSOLE
    pid = detached(command_of(folder.plan, folder.path), console)
    try:
        while len(Folder.load(folder.path).segments) == before:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                lines = console.read_text().strip().splitlines() or ["no output"]
                raise InputError(f"the soak ended with status {code}: {lines[-1]} ({console})")
            time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise
    return pid
