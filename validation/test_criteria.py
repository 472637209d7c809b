"""One test for each registered criterion, built-in or custom: see ``validation.pytest_plugin``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.validation


def test_criterion(criterion: str, judge: Callable[[str], None]) -> None:
    """Fails if the criterion failed; the campaign is run once for all."""
    judge(criterion)
