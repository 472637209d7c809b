"""Does the evolution finish, fast, the same every time, with nothing lost?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.validation

CRITERIA = (
    "cycle_completion",
    "generation_time",
    "speedup",
    "no_data_loss",
    "reproducibility",
    "rollback",
    "backup_restore",
    "population_load",
)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_evolution(criterion: str, judge: Callable[[str], None]) -> None:
    judge(criterion)
