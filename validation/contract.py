"""The one contract of the gate: criteria, the stages that feed them, and mutants.

Built-in criteria (``validation.criteria``) and custom ones (``--with FILE``) are described by the
same classes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from validation.verdict import VerdictFunction

if TYPE_CHECKING:
    from pathlib import Path

    from validation.evidence.base import Record
    from validation.stages.context import Context

HARNESS_CPU: Final = "harness CPU"
CLOCK: Final = "clock"
SCRAPE_GAPS: Final = "scrape gaps"
PROMETHEUS: Final = "Prometheus against processes and receipts"
LOAD_GENERATOR: Final = "load generator"
RECEIPTS: Final = "receipts of faults"
"""Sources of evidence that ``validation.self_check`` examines in every run. A PASS that depends on
one which cannot be trusted becomes INCONCLUSIVE."""

Expected = Literal["FAIL", "INCONCLUSIVE"]
Injector = Callable[[Any], AbstractContextManager[None]]
"""A fault that lasts as long as the block. It is given the stack, or the context of a custom
criterion's stage."""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that must hold before Phase 2."""

    id: str
    statement: str
    """What must hold, in a sentence."""
    target: str
    """The number that it is held against, with its unit."""
    clause: str
    """Where the plan asks for it."""
    evidence_needed: str
    """The least that a PASS takes."""
    verdict: VerdictFunction
    passes: str = ""
    """When the verdict is PASS, for docs/verdicts.md; empty: when the target is met."""
    fails: str = ""
    """When it is FAIL, for docs/verdicts.md. What is neither is INCONCLUSIVE."""
    unit: str = ""
    """Unit of the verdict's interval; empty when there is none."""
    trusts: tuple[str, ...] = ()
    """Sources of evidence that a PASS depends on, see ``HARNESS_CPU`` and those after it."""
    position: int = 1000
    """Place in lists and reports, smallest first."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a campaign: it works, injects faults, looks, and writes evidence."""

    name: str
    run: Callable[[Context], None]
    feeds: tuple[str, ...] = ()
    """Ids of the criteria that it gathers evidence for."""
    seconds: float = 60.0
    """About how long it takes on two cores."""


@dataclass(frozen=True, kw_only=True)
class SourcePatch:
    """A change of one place in a copy of the code."""

    file: str
    """Path from the root of the tree."""
    old: str
    """Must occur exactly once."""
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A defect that is planted on purpose, and that a criterion must notice."""

    name: str
    criterion: str
    stages: tuple[str, ...] = ()
    """What is run to find it; empty for a custom criterion, which has one stage."""
    patches: tuple[SourcePatch, ...] = ()
    """The defect is in the code."""
    injector: Injector | None = None
    """The defect is in the stack, or in what watches it."""
    expects: Expected = "FAIL"
    """INCONCLUSIVE if the system is healthy and evidence is removed. That proves something only
    if the healthy system passes by the same evidence."""
    on_containers: bool = False
    """Whether an injector works on a stack of containers, too."""
    irreversible: bool = False
    """Nothing else can be tried on the stack afterwards."""
    simulated: str | None = None
    """The defect of a simulated soak (``validation.soak.simulated_world``), for what takes days."""

    @property
    def fits_containers(self) -> bool:
        """Whether it can be planted in a stack of containers: the engine's code is in an image."""
        engine = any(patch.file.startswith("ga/") for patch in self.patches)
        outside = self.injector is None or self.on_containers
        return outside and not engine and self.simulated is None


@dataclass(frozen=True, kw_only=True)
class CriterionPlugin:
    """What one file adds to the gate."""

    criteria: tuple[Criterion, ...]
    records: tuple[type[Record], ...] = ()
    """Kinds of evidence that only these criteria know."""
    stages: tuple[Stage, ...] = ()
    """Run on a stack of their own, or with ``--with`` at the end of the gate's own faults."""
    mutants: tuple[Mutant, ...] = ()
    name: str = ""
    file: Path | None = None
    """Set when it is loaded; None: it is part of the gate."""
    argument: str = ""
    """What ``--with`` names it by: the file, or the name of an installed entry point."""
