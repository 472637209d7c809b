"""Defects of the guard of a deployed target, planted in the process that runs the stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evolution_gate.fixtures import Stack
from validation.safety.consent import Consent
from validation.safety.guard import Guard


@contextmanager
def consent_ignored(_: Stack) -> Iterator[None]:
    """Every fault is injected, whatever was allowed."""
    with _replaced(Consent, "allows", lambda *_: True):
        yield


@contextmanager
def steady_state_ignored(_: Stack) -> Iterator[None]:
    """Faults are injected into a cluster that is not in its steady state."""
    with _replaced(Guard, "_require_steady", lambda *_: None):
        yield


@contextmanager
def nothing_undone(_: Stack) -> Iterator[None]:
    """What a campaign leaves broken stays broken."""
    with _replaced(Guard, "_undo", lambda *_: None):
        yield


@contextmanager
def _replaced(kind: Any, name: str, defect: Any) -> Iterator[None]:
    real = getattr(kind, name)
    setattr(kind, name, defect)
    try:
        yield
    finally:
        setattr(kind, name, real)
