"""The engine's fixtures. Nearly every test here evaluates, so the kernels are compiled first."""

import pytest

from tests.support.engine_fixtures import (
    history,
    make_frame,
    market,
    poisonous,
    postgres,
    server,
    settings,
    store,
    write_csv,
)
from tests.support.finished_ledger import copy, original
from tests.support.production import production

__all__ = [
    "copy",
    "history",
    "make_frame",
    "market",
    "original",
    "poisonous",
    "postgres",
    "production",
    "server",
    "settings",
    "store",
    "write_csv",
]


@pytest.fixture(scope="session", autouse=True)
def _compiled(compiled: None) -> None:
    """Compile all kernels first."""
