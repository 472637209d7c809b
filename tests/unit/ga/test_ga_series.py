"""``export --all``: series of strategies, compared with pandas and with an account in Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ga.cli import main
from ga.series import METADATA, UNITS, schema
from ga.sources import load_market

MARKET = "synthetic:assets=2,bars=700,seed=4"
EVOLVE = (
    "evolve", "--market", MARKET, "--mode", "local", "--workers", "1", "--population-size", "24",
    "--generations", "2", "--families", "ema_crossover", "--folds", "3", "--seed", "5",
    "--fee", "0.001", "--json",
)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("series") / "ga.db")
    assert main.main([*EVOLVE, "--store", path]) == 0
    return path


def export(store: str, *argv: object) -> int:
    return main.main(["export", "--all", *map(str, argv), "--store", store])


def rule(close: pd.Series, genes: dict[str, float]) -> pd.Series:
    """Target positions of ema_crossover, from its definition."""
    n = int(genes["slow"])
    fast = close.ewm(span=int(genes["fast"]), adjust=False).mean()
    slow = close.ewm(span=n, adjust=False).mean()
    momentum, apart = close / close.shift(n) - 1.0, fast / slow - 1.0
    trend, least = genes["trend_filter"], genes["momentum_threshold"]
    side, found = 0.0, []
    for gap, move in zip(apart, momentum, strict=True):
        if np.isnan(move):
            found.append(0.0)
            continue
        if (side > 0.0 and gap < 0.0) or (side < 0.0 and gap > 0.0):
            side = 0.0
        if gap > trend and move > least:
            side = 1.0
        elif gap < -trend and move < -least:
            side = -1.0
        found.append(side * genes["signal_strength"])
    return pd.Series(found, index=close.index)


def account(bars: pd.DataFrame, fee: float, slippage: float) -> pd.Series:
    """Equity at each close of an account that follows ``bars.position``."""
    cash, units, curve = 1.0, 0.0, []
    target = bars["position"].shift(1, fill_value=0.0)
    changed = target.diff().fillna(0.0).ne(0.0)
    first = True
    columns = (bars["open"], bars["close"], bars["funding"], target, changed)
    for start, end, funding, wanted, moves in zip(*(c.tolist() for c in columns), strict=True):
        cash -= 0.0 if first else units * start * funding
        first = False
        if moves:
            change = wanted * (cash + units * start) / start - units
            price = start * (1.0 + slippage if change > 0.0 else 1.0 - slippage)
            if change > 0.0:
                change = min(change, cash / (price * (1.0 + fee)))
            cash -= change * price + abs(change) * price * fee
            units += change
        curve.append(cash + units * end)
    return pd.Series(curve, index=bars.index)


def test_series_equal_independent_account(store: str, tmp_path: Path) -> None:
    out = tmp_path / "series.parquet"
    assert export(store, "--out", out, "--every") == 0
    found = pd.read_parquet(out)
    told = json.loads(pq.read_schema(out).metadata[METADATA])
    market = load_market(MARKET)
    assert market.funding is not None
    assert len(found) == len(told["strategies"]) * market.bars * 2
    assert found["position"].ne(0.0).any()
    for one in told["strategies"]:
        mine = found[found["strategy"] == one["key"]]
        for at, asset in enumerate(market.assets):
            rows = mine[mine["asset"] == asset].reset_index(drop=True)
            assert rows["time"].astype("int64").tolist() == market.times.tolist()
            bars = pd.DataFrame(
                {"open": market.open[at], "close": market.close[at], "funding": market.funding[at]}
            )
            assert rows.index[rows["part"] == "hold-out"].tolist() == list(range(560, 700))
            position = rule(bars["close"], one["genes"])
            np.testing.assert_allclose(rows["position"], position, rtol=0, atol=0)
            costs = told["costs"]
            curve = account(bars.assign(position=position), costs["fee"], costs["slippage"])
            np.testing.assert_allclose(rows["equity"], curve, rtol=1e-10)
            change = curve / curve.shift(1, fill_value=1.0) - 1.0
            np.testing.assert_allclose(rows["return"], change, atol=1e-12)


def test_schema_and_metadata_survive_round_trip(store: str, tmp_path: Path) -> None:
    file, folder = tmp_path / "series.parquet", tmp_path / "series"
    assert export(store, "--out", file) == 0
    assert export(store, "--out", folder) == 0
    table = pq.read_table(file)
    stated = schema(json.loads(table.schema.metadata[METADATA]))
    assert table.schema.equals(stated, check_metadata=True)
    assert not any(field.nullable for field in table.schema)
    assert {field.name: field.metadata[b"unit"].decode() for field in table.schema} == UNITS
    assert all(column.null_count == 0 for column in table.columns)
    parts = sorted(folder.iterdir())
    assert [part.stem for part in parts] == sorted(table["strategy"].unique().to_pylist())
    whole = pd.read_parquet(folder).sort_values(["strategy", "asset", "time"], ignore_index=True)
    again = table.to_pandas().sort_values(["strategy", "asset", "time"], ignore_index=True)
    pd.testing.assert_frame_equal(whole, again, check_categorical=False)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_metadata_name_run_and_market(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["runs", "--json", "--store", store]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert main.main(["verify", run["run"], "--stored", "--json", "--store", store]) == 0
    anchor = json.loads(capsys.readouterr().out)["anchor"]
    assert export(store, run["run"][:6], "--out", tmp_path / "s.parquet", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["digest"], told["anchor"]) == (run["run"], run["digest"], anchor)
    assert told["market"]["hash"] == load_market(MARKET).hash
    assert told["costs"] == {"fee": 0.001, "slippage": 0.0001, "funding": True}
    assert (told["time_zone"], told["distinct"]) == ("UTC", True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "give --out FILE.parquet"),
        (("--out", "full"), "has files in it"),
        (("--out", "none/s.parquet"), "cannot be written"),
        (("--out", "s.parquet", "--limit", "0"), "must be 1..100000"),
        (("ffff", "--out", "s.parquet"), "run"),
    ],
)
def test_bad_export_is_one_line(
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: tuple[str, ...],
    message: str,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other").touch()
    monkeypatch.chdir(tmp_path)
    assert export(store, *argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert [entry.name for entry in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("argv", [(), ("abc", "--every"), ("abc", "--limit", "3")])
def test_export_of_one_needs_its_key(
    store: str, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]
) -> None:
    assert main.main(["export", *argv, "--store", store]) == 2
    assert "--all" in capsys.readouterr().err
