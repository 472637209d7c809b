"""What the criteria are held to: thresholds and tiers, as a TOML file states them.

``plan_targets.toml`` holds the plan's. A file of ``--thresholds`` states only what differs from it.
Every output names each difference: a decision on other targets is not one on the plan.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from ga.errors import InputError
from validation.evidence.base import Record
from validation.evidence.errors import EvidenceError
from validation.evidence.files import FileContent, read_file
from validation.evidence.schema import Schema

if TYPE_CHECKING:
    from validation.contract import Criterion

_PLAN_FILE: Final = Path(__file__).with_name("plan_targets.toml")
_TIER: Final = "tier"
_SECONDS: Final[Mapping[str, float]] = {"h": 3600.0}
_PARTS: Final[Mapping[str, float]] = {"%": 100.0, "ms": 1000.0}


class Tier(StrEnum):
    """What the verdict on a criterion decides."""

    REQUIRED = "required"
    """GO needs its PASS, and its FAIL is NO-GO."""
    WARN = "warn"
    """Anything but PASS is a warning."""
    INFORMATIONAL = "informational"
    """Its verdict is only shown."""


@dataclass(frozen=True, kw_only=True)
class _TierEntry(Record):
    KIND = _TIER
    tier: Literal["required", "warn", "informational"]


@dataclass(frozen=True, kw_only=True)
class _ThresholdEntry(Record):
    KIND = "threshold"
    value: float
    unit: str


_TIERS: Final = Schema(_TierEntry)
_THRESHOLDS: Final = Schema(_ThresholdEntry)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A number that a criterion compares its measurement with."""

    criterion: str
    name: str
    """Its key in the file."""
    unit: str
    """Unit of its value in the file."""
    stricter: Literal["higher", "lower"]
    """Which values are harder to reach."""
    sensible: float
    """Loosest value that still says something, in ``unit``; a looser one is named as such."""
    most: float = math.inf
    """Largest possible value, in ``unit``."""

    @property
    def key(self) -> tuple[str, str]:
        """Where a ``Targets`` holds its value."""
        return self.criterion, self.name

    @property
    def value(self) -> float:
        """The value in force: a share of 1 for %, seconds for h and ms, otherwise in ``unit``."""
        return self.converted(_IN_FORCE.get().values[self.key])

    @property
    def planned(self) -> float:
        """The plan's value, as ``value``."""
        return self.converted(PLAN.values[self.key])

    def converted(self, stated: float) -> float:
        """A value of the file in the unit in which verdicts count."""
        return stated * _SECONDS.get(self.unit, 1.0) / _PARTS.get(self.unit, 1.0)

    def looser(self, one: float, other: float) -> bool:
        """Whether a value, in ``unit``, is easier to reach than another."""
        return one < other if self.stricter == "higher" else one > other

    def require_possible(self, value: float) -> None:
        """Refuse a value that nothing can mean.

        Raises:
            EvidenceError: the value is not finite, not above 0, or above ``most``.
        """
        if not 0 < value <= self.most or not math.isfinite(value):
            upper = f" and at most {self.most:g}" if math.isfinite(self.most) else ""
            raise EvidenceError(f"must be above 0{upper} {self.unit}, not {value:g}")

    def text(self, value: float) -> str:
        """A value of the file with its unit, in words."""
        return f"${value:g}" if self.unit == "$" else f"{value:g} {self.unit}"


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Thresholds and tiers of all criteria."""

    name: str
    """Name of the file; empty: the plan's own."""
    values: Mapping[tuple[str, str], float]
    """By criterion and name of the threshold, in the threshold's unit."""
    tiers: Mapping[str, Tier]
    """By criterion; one that is not listed is required."""
    file: FileContent | None = None
    """The file as it was read; None: the plan's own."""

    @property
    def sha256(self) -> str:
        """Digest of the file; empty for the plan's own."""
        return "" if self.file is None else hashlib.sha256(self.file.content).hexdigest()

    def tier(self, criterion: str) -> Tier:
        """The tier of a criterion."""
        return self.tiers.get(criterion, Tier.REQUIRED)

    def differences(self, criteria: Sequence[Criterion]) -> tuple[str, ...]:
        """Each threshold and tier that differs from the plan's, in words."""
        return tuple(text for one in criteria for text in self._differences(one))

    def _differences(self, criterion: Criterion) -> Iterator[str]:
        for threshold in criterion.thresholds:
            ours, planned = self.values[threshold.key], PLAN.values[threshold.key]
            if ours != planned:
                how = "looser" if threshold.looser(ours, planned) else "stricter"
                if threshold.looser(ours, threshold.sensible):
                    how = f"looser than is sensible, {threshold.text(threshold.sensible)}"
                yield (
                    f"{criterion.id} {threshold.name} {threshold.text(ours)}"
                    f" (plan: {threshold.text(planned)}; {how})"
                )
        if (tier := self.tier(criterion.id)) is not PLAN.tier(criterion.id):
            yield f"{criterion.id} is {tier.value} (plan: {PLAN.tier(criterion.id).value})"

    def target_of(self, criterion: Criterion) -> str:
        """The target that a criterion is held to, in words; the plan's where nothing differs."""
        own = list(self._differences(criterion))
        if not own:
            return criterion.target
        stated = [
            f"{one.name} {threshold_sign(one)} {one.text(self.values[one.key])}"
            for one in criterion.thresholds
        ]
        tier = self.tier(criterion.id)
        stated += [f"tier {tier.value}"] if tier is not PLAN.tier(criterion.id) else []
        return f"{', '.join(stated)} (the plan's target: {criterion.target})"

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Context in which verdicts are computed with these thresholds."""
        token = _IN_FORCE.set(self)
        try:
            yield
        finally:
            _IN_FORCE.reset(token)


def threshold_sign(threshold: Threshold) -> str:
    """How a measurement is compared with a threshold."""
    return "at least" if threshold.stricter == "higher" else "at most"


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise EvidenceError("not TOML: it is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise EvidenceError(f"not TOML: {error}") from None


def _entry(found: object) -> _ThresholdEntry:
    if not isinstance(found, dict):
        raise EvidenceError(f'must be written {{ value = 1, unit = "s" }}, not {found!r}')
    return cast("_ThresholdEntry", _THRESHOLDS.read(found))


def _plan() -> Targets:
    content = read_file(_PLAN_FILE)
    values: dict[tuple[str, str], float] = {}
    tiers: dict[str, Tier] = {}
    for criterion, table in _parsed(content).items():
        tiers[criterion] = Tier(table.pop(_TIER))
        for name, found in table.items():
            values[criterion, name] = _entry(found).value
    return Targets(name="", values=values, tiers=tiers)


PLAN: Final = _plan()
"""The plan's own targets."""
_IN_FORCE: Final[ContextVar[Targets]] = ContextVar("targets", default=PLAN)


def read_targets(path: Path | None, criteria: Sequence[Criterion]) -> Targets:
    """The targets of a file, with the plan's where it states none; without a file the plan's.

    Args:
        path: The TOML file.
        criteria: All criteria, built-in and custom.

    Raises:
        InputError: the file names an unknown criterion or threshold, a wrong unit, an impossible
            value, or requires nothing; one line says which.
        EvidenceError, OSError: it cannot be read.
    """
    if path is None:
        return PLAN
    content = read_file(path)
    try:
        return _read(path, content, {criterion.id: criterion for criterion in criteria})
    except EvidenceError as error:
        raise InputError(f"{path}: {error}") from None


def _read(path: Path, content: bytes, known: Mapping[str, Criterion]) -> Targets:
    values, tiers = dict(PLAN.values), dict(PLAN.tiers)
    for name, table in _parsed(content).items():
        if name not in known:
            raise EvidenceError(f"no criterion {name!r}; see: python -m validation criteria")
        if not isinstance(table, dict):
            raise EvidenceError(f"{name} must be a table: [{name}]")
        thresholds = {one.name: one for one in known[name].thresholds}
        for key, found in table.items():
            try:
                if key == _TIER:
                    tiers[name] = Tier(cast("_TierEntry", _TIERS.read({_TIER: found})).tier)
                else:
                    values[name, key] = _value(thresholds, key, found)
            except EvidenceError as error:
                raise EvidenceError(f"[{name}] {key}: {error}") from None
    if all(tiers.get(name, Tier.REQUIRED) is not Tier.REQUIRED for name in known):
        raise EvidenceError("no criterion is required, so nothing would be decided")
    return Targets(
        name=path.name,
        values=values,
        tiers=tiers,
        file=FileContent(path=path, content=content),
    )


def _value(thresholds: Mapping[str, Threshold], key: str, found: object) -> float:
    if key not in thresholds:
        names = ", ".join([_TIER, *thresholds])
        raise EvidenceError(f"no such threshold; this criterion has {names}")
    entry, threshold = _entry(found), thresholds[key]
    if entry.unit != threshold.unit:
        raise EvidenceError(f"must be in {threshold.unit}, not {entry.unit!r}")
    threshold.require_possible(entry.value)
    return entry.value
