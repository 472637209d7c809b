"""Criteria of one's own: collected only with ``--with FILE``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.validation


def test_own(own_criterion: str, judge: Callable[[str], None]) -> None:
    judge(own_criterion)
