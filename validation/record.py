"""What every record of the evidence is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Record:
    """One parsed payload. Subclasses set ``KIND``, the name of the event."""

    KIND: ClassVar[str]

    def data(self) -> dict[str, object]:
        """The payload as JSON-serialisable values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
