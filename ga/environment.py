"""Environment variables, and the location of caches. Standard library only.

An empty variable means unset, as for the shell's own ``${NAME:-default}``.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from ga.errors import InputError

_OLD_CACHE_DIR: Final = "GA_CACHE"
"""Name of ``GA_CACHE_DIR`` until version 0.1. Version 0.2 still reads it; remove it after that."""


def command_name(module: str, installed: str) -> str:
    """The command of this program: the installed command, or ``python -m`` and the module."""
    return installed if Path(sys.argv[0]).name == installed else f"python -m {module}"


def setting(name: str) -> str | None:
    """The value of a variable; None if it is unset, empty or blank."""
    return os.environ.get(name, "").strip() or None


def own_cache() -> Path | None:
    """The folder in ``GA_CACHE_DIR``, if it is set.

    Raises:
        InputError: it is a URL, which belongs in ``GA_CACHE_URL``. The message omits it, because it
            may contain a password.
    """
    for variable in ("GA_CACHE_DIR", _OLD_CACHE_DIR):
        if named := setting(variable):
            if "://" in named:
                raise InputError(
                    f"{variable}: is a URL, but names the folder of downloads and compiled kernels;"
                    " the URL of a Redis server belongs in GA_CACHE_URL"
                )
            return Path(named)
    return None


def home() -> Path | None:
    """The user's home; None for a user without one, as in ``docker run --user 12345``."""
    if named := setting("HOME"):
        return Path(named)
    try:
        # Without HOME it is read from the password database, which may not contain the user.
        return Path("~").expanduser() if "HOME" not in os.environ else None
    except RuntimeError:
        return None


def cache_home() -> Path:
    """Folder for caches: ``GA_CACHE_DIR``, ``XDG_CACHE_HOME``, ``~/.cache``, or a private folder.

    platformdirs would save no line, because it raises for a user without a home.

    Raises:
        InputError: see ``own_cache``; or the private folder belongs to another user.
    """
    if own := own_cache():
        return own
    if base := setting("XDG_CACHE_HOME"):
        return Path(base)
    at_home = home()
    return private_folder() if at_home is None else at_home / ".cache"


def private_folder() -> Path:
    """A persistent folder among the temporary files, to which no other user can write.

    Raises:
        InputError: another user made it; the code in its files would be executed.
    """
    folder = Path(tempfile.gettempdir()) / f"evolution-gate-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InputError(
            f"{folder}: others may write to it; name a folder of yours in GA_CACHE_DIR"
        )
    return folder
