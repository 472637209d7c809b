"""Fixtures of the gate's unit tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evolution_gate.fixtures.backends.compose import deployment, project
from tests.support.compose_double import Engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The Compose project of ``ga cluster up``, on a stand-in for its Docker engine."""
    found = Engine()
    monkeypatch.setattr(deployment, "connect", lambda: found)
    monkeypatch.setattr(project, "on_this_machine", lambda _: True)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    yield found
    found.end()
