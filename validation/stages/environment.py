"""Describes the machine of a run, without host name, path or address."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.system.launch import run
from validation.code_hashes import code_hash

_PACKAGES: Final = ("ray", "numpy", "numba", "pandas", "sqlalchemy", "psycopg", "redis", "pytest")


def environment() -> dict[str, str | int | float]:
    """Versions, processor, memory, the commit, and the hash of the gate's code."""
    facts: dict[str, str | int | float] = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "system": platform.system(),
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_1m": os.getloadavg()[0],
        "commit": _commit(),
        "gate": code_hash()[:16],
    }
    for name in _PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    here = Path(__file__).parent
    try:
        git = ["git", "-C", str(here)]
        # The installation may lie inside the checkout of another project.
        ours = run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True)
        commit = run([*git, "rev-parse", "HEAD"], capture_output=True)
        changed = run([*git, "status", "--porcelain", "-uno"], capture_output=True)
    except FileNotFoundError:
        return "unknown (no git)"
    if ours.returncode or commit.returncode:
        return "unknown (not a checkout)"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
