"""Fixtures of the engine's tests: markets, files, stores. The folders' conftest.py import them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ga.families
from ga.evaluation.settings import Settings
from ga.market import Market
from ga.sources import synthetic
from tests.support import poison
from tests.support.ledger_stores import History, Server

WriteCsv = Callable[..., Path]


@pytest.fixture(scope="session")
def market() -> Market:
    """Two assets, 900 bars, with funding."""
    return synthetic(assets=2, bars=900, seed=5)


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(folds=3)


@pytest.fixture
def poisonous(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """``settings`` that add the families of ``tests.support.poison``, in workers too."""
    monkeypatch.setattr(ga.families, "FAMILIES", poison.families())
    return poison.PoisonSettings(folds=3)


def frame(
    bars: int = 260, *, start: str = "2024-01-01", freq: str = "1h", seed: int = 0
) -> pd.DataFrame:
    """A clean table of one asset: time, open, high, low, close, volume."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, bars)))
    open_ = np.concatenate([[100.0], close[:-1]])
    return pd.DataFrame(
        {
            "time": pd.date_range(start, periods=bars, freq=freq).strftime("%Y-%m-%dT%H:%M:%S"),
            "open": open_,
            "high": np.maximum(open_, close) * 1.001,
            "low": np.minimum(open_, close) * 0.999,
            "close": close,
            "volume": rng.uniform(1.0, 9.0, bars),
        }
    )


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    """Write a table of ``frame`` as CSV, with changed cells or columns, and return its path."""

    def write(
        name: str = "asset.csv",
        *,
        table: pd.DataFrame | None = None,
        cells: dict[tuple[int, str], object] | None = None,
        drop: str | None = None,
        **columns: object,
    ) -> Path:
        made = frame() if table is None else table.copy()
        for column, values in columns.items():
            made[column] = values
        for (row, column), value in (cells or {}).items():
            made[column] = made[column].astype(object)
            made.loc[row, column] = value
        if drop:
            made = made.drop(columns=drop)
        path = tmp_path / name
        made.to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def make_frame() -> Callable[..., pd.DataFrame]:
    return frame


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.stack)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Server = request.getfixturevalue("server")
    return server.database()


@pytest.fixture
def postgres(server: Server) -> str:
    return server.database()


@pytest.fixture
def history(market: Market) -> History:
    return History(market)
