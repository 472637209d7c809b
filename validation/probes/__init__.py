"""What is watched from outside while things break: each probe writes evidence, and only that."""

from __future__ import annotations

from validation.probes.watch import Outages, Watch

__all__ = ["Outages", "Watch"]
