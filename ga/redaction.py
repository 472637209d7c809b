"""Removes passwords from output, and refuses them on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from ga.errors import InputError

_CREDENTIALS = re.compile(r"(?i)(?::|%3A)\S*(?:@|%40)")
_VARIABLES: Final = {"--store": "the variable GA_STORE", "--cache": "the variable GA_CACHE_URL"}
_PARAMETER = re.compile(r"(?i)(passw(?:or)?d\s*=\s*)[^\s&]+")


def redact(text: str) -> str:
    """``text`` without the passwords of the URLs in it.

    Everything from the first colon of a word to its last ``@`` may be a password, percent-encoded
    or not. In a malformed URL more than the password may be hidden, but never less.
    """
    return _PARAMETER.sub(r"\1***", _CREDENTIALS.sub(":***@", text))


def holds_password(text: str) -> bool:
    """Whether ``text`` is a URL with a password."""
    try:
        return urlsplit(text).password is not None or _PARAMETER.search(text) is not None
    except ValueError:
        # Not a URL; the code that needs one reports that.
        return False


def refuse_passwords(words: Sequence[str]) -> None:
    """Refuse a command line with a password, because every user of the machine can read it.

    Raises:
        InputError: an argument is a URL with a password.
    """
    for before, word in pairwise(("", *words)):
        name, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
        if holds_password(value):
            raise InputError(
                f"{name}: a password on the command line can be read by every user of this"
                f" machine; put it into {_VARIABLES.get(name, 'a variable or a file')}"
            )
