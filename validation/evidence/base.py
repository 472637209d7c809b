"""What every record of the evidence is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
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


_FIELDS: Final[dict[type[Record], tuple[str, ...]]] = {}
"""Kept: ``dataclasses.fields`` builds its answer each time, and a soak has 100,000s of records."""
