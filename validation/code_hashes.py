"""Hashes of the code that a certificate is bound to."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from validation.code_syntax import syntax

_ROOT: Final = Path(__file__).resolve().parents[__name__.count(".")]
"""The folder that holds the packages."""
_GATE: Final = (
    ("validation", "*.py"),
    ("validation", "*.toml"),
    ("fixtures", "*.py"),
    ("deploy", "*.yml"),
    ("deploy", "*.json"),
)
_CRITERIA: Final = "validation.criteria"
_ANY: Final = "*"
"""An import that does not say which criteria it means."""
_ALWAYS: Final = frozenset({"__init__", "registry"})
"""Modules of the criteria that every run imports; ``registry`` imports the others by their names in
the folder, which is not followed."""


@dataclass(frozen=True, kw_only=True)
class _File:
    place: Path
    digest: str
    criteria: frozenset[str]
    """Modules of ``validation.criteria`` that it imports; ``_ANY``: possibly each."""

    @property
    def criterion(self) -> str | None:
        """Its name as a module of ``validation.criteria``; None: it is none."""
        is_one = self.place.parent == Path(*_CRITERIA.split(".")) and self.place.suffix == ".py"
        return self.place.stem if is_one else None


@cache
def engine_hash() -> str:
    """SHA-256 of the engine's code."""
    return _hash(_files(_ROOT, (("ga", "*.py"),)))


@cache
def code_hash() -> str:
    """SHA-256 of the code of gate and fixtures, and of the rules and dashboards that they start
    with.
    """
    return hash_of(_ROOT)


@cache
def criterion_hash(criterion: str) -> str:
    """``code_hash`` without the files of other criteria, unless they are imported.

    So a new or a changed criterion keeps the certificates of the others. For a criterion that has
    no file in ``validation/criteria``: ``code_hash``.
    """
    return hash_of(_ROOT, criterion)


def hash_of_installed() -> str:
    """``code_hash`` of the files as they are now."""
    return _hash(_files(_ROOT, _GATE))


def hash_of(root: Path, criterion: str = "") -> str:
    """``code_hash`` of the project in a folder, or with a criterion its ``criterion_hash``.

    A Python file enters with its ``syntax``, any other file with every byte. Tests do not enter.
    """
    files = _files_of_installed() if root == _ROOT else tuple(_files(root, _GATE))
    return _hash(_needed(files, criterion))


@cache
def _files_of_installed() -> tuple[_File, ...]:
    return tuple(_files(_ROOT, _GATE))


def _needed(files: Iterable[_File], criterion: str) -> list[_File]:
    """The files without those criteria that neither this one nor another part imports."""
    found = list(files)
    modules = {name: file for file in found if (name := file.criterion) is not None}
    if criterion not in modules or criterion in _ALWAYS:
        return found
    outside = (name for file in found if file.criterion is None for name in file.criteria)
    left, reached = {criterion, *_ALWAYS, *outside}, set[str]()
    while left:
        name = left.pop()
        if name == _ANY:
            return found
        reached.add(name)
        if name in modules and name not in _ALWAYS:
            left |= modules[name].criteria - reached
    return [file for file in found if file.criterion is None or file.criterion in reached]


def _hash(files: Iterable[_File]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.place} {file.digest}\n".encode())
    return digest.hexdigest()


def _files(root: Path, parts: Iterable[tuple[str, str]]) -> Iterator[_File]:
    for package, names in parts:
        folder = _folder(root, package)
        for file in sorted(folder.rglob(names)):
            place = package / file.relative_to(folder)
            content, imported = file.read_bytes(), frozenset[str]()
            if file.suffix == ".py":
                if file.name.startswith("test_") or "tests" in place.parts:
                    continue
                try:
                    tree = ast.parse(content)
                except SyntaxError:
                    # This Python cannot parse the file. Then every byte counts.
                    pass
                else:
                    content, imported = syntax(tree).encode(), frozenset(_criteria_in(tree))
            yield _File(place=place, digest=hashlib.sha256(content).hexdigest(), criteria=imported)


def _criteria_in(tree: ast.AST) -> Iterator[str]:
    """Modules of ``validation.criteria`` that a module imports, wherever it does."""
    inside = f"{_CRITERIA}."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level > 0:
            yield _ANY
        elif isinstance(node, ast.ImportFrom) and node.module == "validation":
            yield from (_ANY for one in node.names if one.name == "criteria")
        elif isinstance(node, ast.ImportFrom) and node.module == _CRITERIA:
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(inside):
            yield str(node.module).removeprefix(inside)
        elif isinstance(node, ast.Import):
            names = [one.name for one in node.names]
            yield from (_ANY for name in names if name == _CRITERIA)
            yield from (name.removeprefix(inside) for name in names if name.startswith(inside))


def _folder(root: Path, name: str) -> Path:
    """Path of a folder of the project, in a checkout or an installed wheel."""
    places = [root / name, root / "evolution_gate" / name, root / "evolution_gate/fixtures" / name]
    return next((place for place in places if place.is_dir()), places[0])
