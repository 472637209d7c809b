"""The import graph of the source tree, read from the syntax trees; no module is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

IMPORT_PACKAGE: Final = "evolution_gate"
"""Package of links, which make ``fixtures/a.py`` importable as ``evolution_gate.fixtures.a``. Here,
modules are named by their folders: ``fixtures.a``.
"""


@dataclass(frozen=True, kw_only=True)
class Import:
    """One import of a module of the tree by another."""

    source: str
    """Dotted name of the importing module."""
    target: str
    """Dotted name of the imported module."""
    at_import: bool
    """Whether it runs when ``source`` is imported: neither inside a function nor under
    ``if TYPE_CHECKING``."""


def top_packages(root: Path) -> tuple[str, ...]:
    """The top-level folders that are packages, sorted."""
    return tuple(sorted(path.parent.name for path in root.glob("*/__init__.py")))


def modules_of(root: Path) -> dict[str, Path]:
    """Every module of the top-level packages: dotted name -> file."""
    found: dict[str, Path] = {}
    for package in top_packages(root):
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(root: Path) -> tuple[Import, ...]:
    """Every import between modules of the tree, sorted by source and target."""
    modules = modules_of(root)
    found: set[tuple[str, str, bool]] = set()
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for node, at_import in _statements(tree.body, at_import=True):
            for target in _targets(node, package, modules):
                if target != name:
                    found.add((name, target, at_import))
    return tuple(Import(source=s, target=t, at_import=a) for s, t, a in sorted(found))


def cycles(imports: Iterable[Import]) -> list[tuple[str, ...]]:
    """Groups of modules that import each other in a circle when they are imported.

    Each group is a strongly connected component of the graph (Tarjan's algorithm).
    """
    graph: dict[str, list[str]] = {}
    for one in imports:
        if one.at_import:
            graph.setdefault(one.source, []).append(one.target)
            graph.setdefault(one.target, [])
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for target in graph[name]:
            if target not in number:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], number[target])
        if low[name] == number[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(tuple(sorted(stack[at:])))
            del stack[at:]

    for name in sorted(graph):
        if name not in number:
            visit(name)
    return sorted(found)


def _statements(
    body: Iterable[ast.AST], *, at_import: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements, each with whether it runs when its module is imported."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, at_import
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _statements(ast.iter_child_nodes(node), at_import=False)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _statements(node.body, at_import=False)
            yield from _statements(node.orelse, at_import=at_import)
        else:
            yield from _statements(ast.iter_child_nodes(node), at_import=at_import)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _targets(
    node: ast.Import | ast.ImportFrom, package: str, modules: Mapping[str, Path]
) -> Iterator[str]:
    """The modules of the tree that a statement names."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _known(alias.name, modules)
        return
    base = node.module or ""
    if node.level:
        parents = package.split(".")
        parents = parents[: len(parents) - node.level + 1]
        base = ".".join([*parents, base] if base else parents)
    for alias in node.names:
        # ``from package import name``: the name is a submodule, or an attribute of the package.
        submodule = _of_folder(f"{base}.{alias.name}")
        yield from [submodule] if submodule in modules else _known(base, modules)


def _of_folder(name: str) -> str:
    return name.removeprefix(f"{IMPORT_PACKAGE}.")


def _known(name: str, modules: Mapping[str, Path]) -> Iterator[str]:
    """The module itself if the tree has it, else its nearest parent in the tree."""
    name = _of_folder(name)
    while name:
        if name in modules:
            yield name
            return
        name = name.rpartition(".")[0]
