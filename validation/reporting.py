"""Finds the installed packages that write reports, by their entry points.

The gate does not import reports. This project's ``reports`` is registered in the entry point group
``evolution_gate.reporters``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ga.errors import InputError

if TYPE_CHECKING:
    from validation.decision import GateResult
    from validation.evidence.log import Evidence

GROUP: Final = "evolution_gate.reporters"


class Reporter(Protocol):
    """A module that writes pages."""

    def write(
        self,
        result: GateResult,
        evidence: Sequence[Evidence],
        out_dir: Path,
        *,
        runs: Path | None = None,
    ) -> Sequence[Path]:
        """Write the report of one decision, and with ``runs`` the list of all runs.

        Returns:
            The report's files.
        """
        ...

    def write_index(self, folder: Path) -> Path:
        """Write the list of all runs in a folder."""
        ...


def reporters() -> Iterator[Reporter]:
    """Every installed reporter.

    Raises:
        InputError: no reporter is installed.
    """
    found = entry_points(group=GROUP)
    if not found:
        raise InputError(
            "no report can be written: evolution-gate is not installed; run pip install -e ."
        )
    for one in found:
        yield one.load()
