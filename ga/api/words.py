"""Error messages in the words of Python: arguments instead of options of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ga.errors import InputError, LedgerError

_OPTION: Final = re.compile(r"--([a-z]+(?:-[a-z]+)*)")
_RENAMED: Final = {"timeframe": "time_frame"}
_COMMAND: Final = "python -m ga"


@contextmanager
def python_words() -> Iterator[None]:
    """Raise errors that name options with the names of arguments instead.

    Raises:
        InputError, LedgerError: as in the block.
    """
    try:
        yield
    except (InputError, LedgerError) as error:
        raise type(error)(in_python(str(error))) from None


def in_python(text: str) -> str:
    """A message with arguments for options; commands in it stay."""
    message, command, rest = text.partition(_COMMAND)
    return _OPTION.sub(_argument, message) + command + rest


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return _RENAMED.get(name, name)
