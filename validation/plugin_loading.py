"""Loads custom criteria: from a file, or from an installed package.

A package offers them by an entry point of the group ``evolution_gate.criteria``. Nothing is loaded
unless it is named (``--with``): a verdict must not depend on the installed packages.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from ga.errors import InputError
from validation.contract import CriterionPlugin
from validation.criteria.registry import CRITERIA
from validation.evidence.identity import PLUGIN as MARK
from validation.evidence.records import register

GROUP: Final = "evolution_gate.criteria"
"""Group of entry points; each leads to a module, or to an attribute of one (default: PLUGIN)."""
_ATTRIBUTE: Final = "PLUGIN"


def load(named: str | Path) -> CriterionPlugin:
    """Load custom criteria; their records can be written and read from then on.

    Args:
        named: A file, or the name of an entry point.

    Raises:
        InputError: it does not exist, cannot be imported, or does not set ``PLUGIN``.
    """
    path, entry = Path(named), None
    if not path.is_file():
        offered = {one.name: one for one in entry_points(group=GROUP)}
        entry = offered.get(str(named))
        if entry is None:
            there = f", and no installed plug-in ({', '.join(sorted(offered))})" if offered else ""
            raise InputError(
                f"{named}: no such file{there}; it must set {_ATTRIBUTE}, see docs/extending.md"
            )
    try:
        module = _module_of_file(path) if entry is None else importlib.import_module(entry.module)
    except Exception as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{named}: {type(error).__name__}: {error}") from error
    plugin = _checked(named, getattr(module, _attribute_of(entry), None))
    for record in plugin.records:
        register(record)
    name = path.stem if entry is None else entry.name
    file = Path(str(module.__file__))
    return replace(plugin, file=file, name=name, argument=str(named))


def digests_of(plugins: Sequence[CriterionPlugin]) -> dict[str, str]:
    """What a run states of the files whose stages it runs, as facts of its environment."""
    return {
        f"{MARK}{plugin.argument}": hashlib.sha256(plugin.file.read_bytes()).hexdigest()
        for plugin in plugins
        if plugin.file is not None
    }


def _attribute_of(entry: EntryPoint | None) -> str:
    return (entry.attr if entry is not None else "") or _ATTRIBUTE


def _module_of_file(path: Path) -> ModuleType:
    name = f"validation_own_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look up their module by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _checked(named: str | Path, plugin: object) -> CriterionPlugin:
    if not isinstance(plugin, CriterionPlugin) or not plugin.criteria:
        raise InputError(
            f"{named}: must set {_ATTRIBUTE} to a CriterionPlugin with at least one criterion, see"
            " docs/extending.md"
        )
    known = [c.id for c in (*CRITERIA, *plugin.criteria)]
    if twice := sorted({one for one in known if known.count(one) > 1}):
        raise InputError(f"{named}: criterion {twice[0]!r} exists already")
    if stray := [m.name for m in plugin.mutants if m.criterion not in known[len(CRITERIA) :]]:
        raise InputError(f"{named}: mutant {stray[0]!r} belongs to no criterion of this file")
    if bare := [m.name for m in plugin.mutants if m.injector is None]:
        raise InputError(f"{named}: mutant {bare[0]!r} has no injector")
    return plugin
