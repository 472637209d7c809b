"""Passwords are kept out of everything that is shown or written."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?i)(?::|%3A)\S*(?:@|%40)")
_PARAMETER = re.compile(r"(?i)(passw(?:or)?d\s*=\s*)[^\s&]+")


def redact(text: str) -> str:
    """``text`` without the passwords of the URLs in it.

    From the first colon of a word to its last ``@`` all may be one, percent-encoded or not: where a
    URL is malformed, more is hidden than had to be, never less.
    """
    return _PARAMETER.sub(r"\1***", _CREDENTIALS.sub(":***@", text))
