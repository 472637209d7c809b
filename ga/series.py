"""Return and position series of strategies by asset, as a Parquet table for other programs.

One row for each strategy, asset and bar. The schema's metadata say what the series are from.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ga import __version__
from ga.analysis.accounts import accounts_of
from ga.analysis.holdout import PARTS, positions, ranges
from ga.errors import InputError
from ga.evaluation.settings import Settings
from ga.genome import Genome
from ga.ledger import RunRecord
from ga.market import Market

FORMAT: Final = "evolution-gate/series/1"
METADATA: Final = b"evolution-gate"
"""Key of the schema's metadata with the JSON object of ``metadata``."""
SUFFIX: Final = ".parquet"
UNMEASURED: Final = "unmeasured"
"""Part of bars that no ratio is measured on: the warm-up, and bars between two parts."""
_PARTS: Final = (*PARTS, UNMEASURED)
UNITS: Final[Mapping[str, str]] = {
    "time": "opening time of the bar, UTC",
    "strategy": "evaluation key of the strategy, 64 hexadecimal digits",
    "asset": "name of the asset",
    "part": "in-sample, out-of-sample, hold-out or unmeasured",
    "position": "target position decided at the close of the bar, a fraction of equity from -1"
    " (short) to 1 (long), filled at the next open",
    "return": "return of the asset's account from close to close, a fraction, net of costs",
    "equity": "equity of the asset's account at the close, 1 at the start; the portfolio's is the"
    " mean over the assets",
}
"""Column -> unit and meaning."""
_LABEL: Final = pa.dictionary(pa.int32(), pa.string())
_TYPES: Final[Mapping[str, Any]] = {
    "time": pa.timestamp("ns", tz="UTC"),
    "strategy": _LABEL,
    "asset": _LABEL,
    "part": _LABEL,
    "position": pa.float64(),
    "return": pa.float64(),
    "equity": pa.float64(),
}


@dataclass(frozen=True, kw_only=True)
class Named:
    """A strategy whose series are wanted."""

    key: str
    genome: Genome
    described: Mapping[str, object]
    """What the metadata say of it: a JSON object."""


def schema(metadata: Mapping[str, object] | None = None) -> Any:
    """The ``pyarrow.Schema`` of the table; no column has nulls."""
    fields = [
        pa.field(name, kind, nullable=False, metadata={"unit": UNITS[name]})
        for name, kind in _TYPES.items()
    ]
    content = {} if metadata is None else {METADATA: json.dumps(metadata).encode()}
    return pa.schema(fields, metadata=content)


def metadata(
    record: RunRecord,
    market: Market,
    strategies: Sequence[Named],
    *,
    anchor: str | None,
    distinct: bool,
) -> dict[str, object]:
    """What series are from, as a JSON object.

    Args:
        anchor: digest over all rows of the run in the ledger; None if the run has not ended.
        distinct: whether the strategies were chosen to be distinct.
    """
    settings = record.settings
    return {
        "format": FORMAT,
        "run": record.run,
        "digest": record.digest,
        "anchor": anchor,
        "generations": {"committed": record.committed, "planned": record.plan.generations},
        "seed": record.plan.seed,
        "engine": {"version": __version__, **record.made_by},
        "market": {
            "source": record.market.spec,
            "name": market.name,
            "hash": market.hash,
            "assets": list(market.assets),
            "bars": market.bars,
            "from": _iso(int(market.times[0])),
            "to": _iso(int(market.times[-1])),
            "bars_per_year": market.bars_per_year,
        },
        "costs": {**asdict(settings.costs), "funding": market.funding is not None},
        "settings": {name: v for name, v in asdict(settings).items() if name != "costs"},
        "time_zone": "UTC",
        "units": dict(UNITS),
        "distinct": distinct,
        "strategies": [dict(one.described) for one in strategies],
    }


def table(market: Market, settings: Settings, strategy: Named, form: Any | None = None) -> Any:
    """The series of one strategy as a ``pyarrow.Table`` of (assets x bars) rows, by asset and time.

    Args:
        market: the whole market. form: the schema; by default one without metadata.

    Raises:
        InputError: the market is too short for the family.
    """
    bars, assets = market.bars, len(market.assets)
    equity = accounts_of(market, settings, strategy.genome).equity
    before = np.vstack([np.ones(assets), equity[:-1]])
    ratio = np.divide(equity, before, out=np.ones_like(equity), where=before > 0.0)
    parts = np.full(bars, _PARTS.index(UNMEASURED), dtype=np.int32)
    for part, _, start, stop in ranges(market, settings):
        parts[start:stop] = _PARTS.index(part)
    columns = {
        "time": np.tile(market.times, assets).astype("datetime64[ns]"),
        "strategy": _labels(np.zeros(bars * assets, dtype=np.int32), [strategy.key]),
        "asset": _labels(np.repeat(np.arange(assets, dtype=np.int32), bars), market.assets),
        "part": _labels(np.tile(parts, assets), _PARTS),
        "position": positions(market, strategy.genome).T.ravel(),
        "return": (ratio - 1.0).T.ravel(),
        "equity": equity.T.ravel(),
    }
    arrays = [
        one if isinstance(one, pa.DictionaryArray) else pa.array(one, type=_TYPES[name])
        for name, one in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=schema() if form is None else form)


def series_frame(market: Market, settings: Settings, strategies: Sequence[Named]) -> pd.DataFrame:
    """The series of all strategies as one data frame, in their order."""
    form = schema()
    tables = [table(market, settings, one, form) for one in strategies]
    frame: pd.DataFrame = pa.concat_tables([form.empty_table(), *tables]).to_pandas()
    return frame


def write(
    out: Path,
    market: Market,
    settings: Settings,
    strategies: Sequence[Named],
    described: Mapping[str, object],
) -> int:
    """Write the series of strategies; nothing is left behind if it fails.

    Args:
        out: a file that ends in .parquet, which is replaced; or a new or empty folder, which gets
            a file for each strategy, ``KEY.parquet``.
        described: see ``metadata``.

    Returns:
        The number of rows.

    Raises:
        InputError: the folder has files in it, or cannot be written.
    """
    form = schema(described)
    beside = out.parent / f".{out.name}.{uuid.uuid4().hex}"
    try:
        if out.suffix == SUFFIX and not out.is_dir():
            written = _write_file(
                beside, form, (table(market, settings, s, form) for s in strategies)
            )
            os.replace(beside, out)
            return written
        if out.exists() and any(out.iterdir()):
            raise InputError(
                f"--out {out}: the folder has files in it; give a new one, or a file that ends in"
                f" {SUFFIX}"
            )
        beside.mkdir()
        written = sum(
            _write_file(
                beside / f"{one.key}{SUFFIX}", form, iter([table(market, settings, one, form)])
            )
            for one in strategies
        )
        os.replace(beside, out)
    except OSError as error:
        raise InputError(
            f"--out {out}: cannot be written ({error.strerror or error}); give a {SUFFIX} file or"
            " a folder, in a folder that exists"
        ) from None
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        beside.unlink(missing_ok=True)
    return written


def _write_file(path: Path, form: Any, tables: Iterator[Any]) -> int:
    """Write one row group for each strategy, so that memory holds the series of one."""
    rows = 0
    with path.open("xb") as file, pq.ParquetWriter(file, form) as writer:
        for one in tables:
            writer.write_table(one, row_group_size=max(1, one.num_rows))
            rows += one.num_rows
    return rows


def _labels(codes: Any, words: Sequence[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(words, type=pa.string()))


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
