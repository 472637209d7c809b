"""Whole numbers in text that a user typed. Standard library only."""

from __future__ import annotations

import re
from typing import Final

_DIGITS: Final = re.compile("[0-9]{1,19}")


def whole(text: str) -> int | None:
    """The whole number of 1 to 19 digits 0-9; None for any other text.

    ``int`` alone also accepts signs, blanks, underscores and the digits of other scripts, raises an
    error for ``²`` although that is a digit for ``str.isdigit``, and for more than 4,300 digits.
    """
    return int(text) if _DIGITS.fullmatch(text) else None
