"""Synthetic evidence for tests: a run in which everything holds, and the means to damage it."""

# ruff: noqa: F401, F403
from tests.support.evidence_builders.extra import NEEDED, climbing, list_run, write
from validation.simulation.campaign import *
