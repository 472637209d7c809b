"""Errors of evidence, in a separate module so that records and files can share them."""

from __future__ import annotations

from typing import Final

MOST_SHOWN: Final = 1000
"""Characters of a message; it may quote a file, whose values may be long."""


class EvidenceError(ValueError):
    """The evidence is unusable: damaged, cut, edited, or of another schema."""


def in_one_line(error: Exception) -> str:
    """The message of an error that a user can fix, without line ends, and not endless."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename}: "
        text = f"{place}{error.strerror}"
    text = " ".join(text.split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} ..."
