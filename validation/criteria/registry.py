"""The built-in criteria: every module of this folder that sets ``PLUGIN``.

Ids are final. Reports list criteria by their ``position``.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Final

from validation import criteria
from validation.contract import Criterion, CriterionPlugin, Mutant, Stage
from validation.evidence.records import register

_LAST_STAGE: Final = "rollback"
"""It ends the cluster: nothing else can be run on that stack."""


def _plugins() -> tuple[CriterionPlugin, ...]:
    names = [
        f"{criteria.__name__}.{module.name}" for module in pkgutil.iter_modules(criteria.__path__)
    ]
    # This module is one of them.
    found = [importlib.import_module(name) for name in names if name != __name__]
    return tuple(module.PLUGIN for module in found if hasattr(module, "PLUGIN"))


def _by_position(criterion: Criterion) -> int:
    return criterion.position


PLUGINS: Final = _plugins()
CRITERIA: Final[tuple[Criterion, ...]] = tuple(
    sorted((c for plugin in PLUGINS for c in plugin.criteria), key=_by_position)
)
OWN_STAGES: Final[tuple[Stage, ...]] = tuple(s for plugin in PLUGINS for s in plugin.stages)
"""Stages that a criterion's own file brings; the others are in ``validation.stages.registry``."""
for _record in (record for plugin in PLUGINS for record in plugin.records):
    register(_record)
_PLACE: Final = {criterion.id: place for place, criterion in enumerate(CRITERIA)}


def _in_turn(mutant: Mutant) -> tuple[bool, bool, int]:
    return (mutant.irreversible, _LAST_STAGE in mutant.stages, _PLACE[mutant.criterion])


MUTANTS: Final[tuple[Mutant, ...]] = tuple(
    sorted((m for plugin in PLUGINS for m in plugin.mutants), key=_in_turn)
)
"""In the order in which they are tried on one stack: what cannot be undone comes last."""
