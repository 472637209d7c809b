"""Is it watched, does it serve, does it refuse what is wrong?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.validation

CRITERIA = (
    "prometheus_collection",
    "grafana_functional",
    "alerting",
    "service_load",
    "bad_input",
)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_service(criterion: str, judge: Callable[[str], None]) -> None:
    judge(criterion)
