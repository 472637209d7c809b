"""The table of exit statuses in ``docs/exit-status.md``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_TABLE: Final = Path(__file__).parents[2] / "docs" / "exit-status.md"


def statuses(program: str) -> dict[str, frozenset[int]]:
    """The statuses of every command of a program, by the command's words."""
    found: dict[str, frozenset[int]] = {}
    for line in _TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        named = re.fullmatch(f"`{re.escape(program)} (.+)`", cells[0])
        if named:
            assert named[1] not in found, f"{named[1]} has two rows"
            listed = {status for status, cell in zip((0, 1, 2), cells[1:4], strict=True) if cell}
            found[named[1]] = frozenset(listed | {int(n) for n in re.findall(r"(\d+): ", cells[4])})
    return found
