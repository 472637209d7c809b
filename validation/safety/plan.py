"""The faults that a campaign would inject, for ``--dry-run``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evolution_gate.fixtures.capabilities import FAULTS
from validation.contract import Stage
from validation.verdict import span

if TYPE_CHECKING:
    from validation.targets import Target


def fault_plan(target: Target, stages: Sequence[Stage]) -> Iterator[str]:
    """Lines: each stage that breaks something, what it affects, and how long it takes; then the
    stages that are left out, and why.
    """
    yield f"plan of faults on {target.name}; nothing is broken now"
    total = 0.0
    for stage in stages:
        if target.lacks(stage):
            continue
        total += stage.seconds
        for kind in stage.needs:
            if kind in FAULTS:
                yield f"  {stage.name}: {kind}, {FAULTS[kind]}; about {span(stage.seconds)}"
    for stage in stages:
        for kind, why in target.lacks(stage).items():
            yield f"  not {stage.name}: {kind}: {why}"
    yield f"  replaced by {target.replaced_by}; about {span(total)} in all"
