"""Evidence of days: gathered in segments that survive a kill, read back as one record."""

from __future__ import annotations

from validation.soak.segments import MANIFEST, Folder, Plan, Segments, read_soak

__all__ = ["MANIFEST", "Folder", "Plan", "Segments", "read_soak"]
