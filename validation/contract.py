"""Contract of the gate's parts: criteria, the stages that gather their evidence, and mutants.

Built-in criteria (``validation.criteria``) and custom ones (``--with FILE``) are described by the
same classes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from evolution_gate.fixtures.capabilities import Capability
from validation.verdict import VerdictFunction

if TYPE_CHECKING:
    from pathlib import Path

    from validation.evidence.base import Record
    from validation.stages.context import Context
    from validation.thresholds import Threshold

HARNESS_CPU: Final = "harness CPU"
CLOCK: Final = "clock"
SCRAPE_GAPS: Final = "scrape gaps"
PROMETHEUS: Final = "Prometheus against processes and receipts"
LOAD_GENERATOR: Final = "load generator"
RECEIPTS: Final = "receipts of faults"
MACHINE: Final = "other load of the machine"
"""Sources of evidence that ``validation.self_check`` examines in every run. A PASS that depends on
an untrusted source becomes INCONCLUSIVE. ``MACHINE`` is no reason to distrust a PASS; it opens a
FAIL of a timed criterion.
"""

Expected = Literal["FAIL", "INCONCLUSIVE"]
Injector = Callable[[Any], AbstractContextManager[None]]
"""A fault that lasts as long as the ``with`` block. It receives the stack, or the context of a
custom criterion's stage.
"""


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One thing that must hold before Phase 2."""

    id: str
    statement: str
    """What must hold, in a sentence."""
    target: str
    """The number that the measurement is compared with, and its unit."""
    clause: str
    """The clause of the plan that requires it."""
    evidence_needed: str
    """The least evidence that a PASS needs."""
    verdict: VerdictFunction
    passes: str = ""
    """When the verdict is PASS, for docs/verdicts.md; empty: when the target is met."""
    fails: str = ""
    """When it is FAIL, for docs/verdicts.md. Anything else is INCONCLUSIVE."""
    measures: str = ""
    """What is measured, from which moment to which, for docs/verdicts.md."""
    clock: str = ""
    """Whose clock or count the measurement is, for docs/verdicts.md."""
    limits: str = ""
    """What a PASS does not show, for docs/verdicts.md."""
    unit: str = ""
    """Unit of the verdict's interval; empty when there is none."""
    trusts: tuple[str, ...] = ()
    """Sources of evidence that a PASS depends on: ``HARNESS_CPU`` and the constants after it."""
    timed: bool = False
    """Whether a FAIL may rest on a time that another load of the machine would lengthen; then such
    a FAIL is INCONCLUSIVE (``validation.disturbance``).
    """
    position: int = 1000
    """Place in lists and reports, smallest first."""
    thresholds: tuple[Threshold, ...] = ()
    """The numbers of its target, which a file of ``--thresholds`` may change."""
    soak_s: float = 0.0
    """Seconds of a soak that let it be judged where a campaign is too short; 0: none is."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a campaign: it runs workloads, injects faults, measures, and writes evidence."""

    name: str
    run: Callable[[Context], None]
    feeds: tuple[str, ...] = ()
    """Ids of the criteria for which it gathers evidence."""
    seconds: float = 60.0
    """About how long it takes on two cores."""
    after: tuple[str, ...] = ()
    """Stages whose results it uses, which therefore must be run before it."""
    needs: tuple[Capability, ...] = ()
    """What its target must be capable of; without it the stage is not run."""


@dataclass(frozen=True, kw_only=True)
class SourcePatch:
    """A change of one place in a copy of the code."""

    file: str
    """Path from the root of the tree."""
    old: str
    """Text to replace; must occur exactly once."""
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A defect that is planted on purpose and that a criterion must detect."""

    name: str
    criterion: str
    stages: tuple[str, ...] = ()
    """Stages that are run to detect it; empty for a custom criterion, which has one stage."""
    patches: tuple[SourcePatch, ...] = ()
    """Set if the defect is in the code."""
    injector: Injector | None = None
    """Set if the defect is in the stack or its monitoring."""
    expects: Expected = "FAIL"
    """INCONCLUSIVE if the mutant removes evidence from a healthy system. That proves something only
    if the healthy system passes with the same evidence.
    """
    on_containers: bool = False
    """Whether the injector also works on a stack of containers."""
    irreversible: bool = False
    """Nothing else can be tried on the stack afterwards."""
    simulated: str | None = None
    """Defect of a simulated soak (``validation.soak.simulated_world``), for defects that need
    days.
    """

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
    """Kinds of evidence that only these criteria use."""
    stages: tuple[Stage, ...] = ()
    """Stages, run on a separate stack, or with ``--with`` after the faults of the gate itself."""
    mutants: tuple[Mutant, ...] = ()
    name: str = ""
    file: Path | None = None
    """The file's path, set when it is loaded; None for a part of the gate."""
    argument: str = ""
    """What ``--with`` names it by: the file, or the name of an installed entry point."""
