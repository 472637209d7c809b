"""Base class of evidence records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final


@dataclass(frozen=True, kw_only=True)
class Record:
    """One parsed payload. Subclasses set ``KIND``, the name of the event."""

    KIND: ClassVar[str]

    def data(self) -> dict[str, object]:
        """The payload as JSON-serialisable values."""
        kind = type(self)
        names = _FIELDS.get(kind)
        if names is None:
            names = _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(self))
        return {name: getattr(self, name) for name in names}

    @cached_property
    def not_finite(self) -> str:
        """Describe the field that is NaN or infinite; empty when all are finite."""
        for name, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                return f"{name} is {value}"
            if isinstance(value, tuple | list) and not _all_finite(value):
                return f"{name} holds NaN or infinity"
        return ""


def _all_finite(values: Sequence[object]) -> bool:
    return all(math.isfinite(value) for value in values if isinstance(value, float))


_FIELDS: Final[dict[type[Record], tuple[str, ...]]] = {}
"""Cached, because ``dataclasses.fields`` builds its answer each time and a soak has 100,000s of
records.
"""
