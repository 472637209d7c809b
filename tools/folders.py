"""The folders of the repository."""

from __future__ import annotations

import fnmatch
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath


def folders_of(root: Path, depth: int) -> list[str]:
    """Folders of at most so many levels that hold a file of the repository, at any depth.

    Git knows which files these are. Without git, or outside a checkout, they are the files below
    ``root`` that its ``.gitignore`` does not name.
    """
    found = set()
    for name in _tracked(root) or _walked(root):
        parts = PurePosixPath(name).parts[:-1][:depth]
        found |= {"/".join(parts[:level]) for level in range(1, len(parts) + 1)}
    return sorted(found)


def _tracked(root: Path) -> list[str]:
    """Every file that git tracks; nothing if git cannot say."""
    argv = ["git", "ls-files", "-z"]
    try:
        listed = subprocess.run(argv, cwd=root, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _walked(root: Path) -> Iterator[str]:
    """Every file that is not ignored; links to folders are not followed."""
    ignore = root / ".gitignore"
    patterns = ignore.read_text("utf-8").splitlines() if ignore.is_file() else []
    for folder, below, files in os.walk(root):
        place = Path(folder).relative_to(root)
        below[:] = [one for one in below if not _ignored(place / one, (".git", *patterns))]
        for one in files:
            if not _ignored(place / one, (".git", *patterns)):
                yield (place / one).as_posix()


def _ignored(path: Path, patterns: Sequence[str]) -> bool:
    """Whether a pattern names the path: the whole path if it has a slash, else its last part."""
    for pattern in patterns:
        bare = pattern.rstrip("/")
        if fnmatch.fnmatch(path.as_posix() if "/" in bare else path.name, bare.lstrip("/")):
            return True
    return False
