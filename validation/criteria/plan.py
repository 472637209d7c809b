"""Sections of the phase 1 plan that criteria quote.

The plan is the "Ray Cluster Scaling Implementation Plan" of 2025-08-05.
"""

from typing import Final

METRICS: Final = "Success Metrics & Validation Criteria"
GO: Final = "Go/No-Go Criteria for Phase 2"
