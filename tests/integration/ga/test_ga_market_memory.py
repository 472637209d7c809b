"""Five million bars are read within 1 GiB, as the operating system counts a process's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

ROWS: Final = 5_000_000
MOST: Final = 2**30
READ: Final = """
import re, sys
from ga.sources import load_market
market = load_market(sys.argv[1])
# Not getrusage: its maximum counts what the process was before exec, a copy of the caller.
with open("/proc/self/status") as status:
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", status.read())
print(market.bars, 1024 * int(peak[1]))
"""


def write(path: Path, *, epochs: bool) -> None:
    close = 100 + np.sin(np.arange(ROWS) / 1000).round(4)
    times = pd.date_range("2014-01-01", periods=ROWS, freq="1min").as_unit("ms")
    table = pa.table(
        {
            "time": times.asi8 if epochs else times,
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": np.arange(ROWS) / 8,
        }
    )
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "epochs"), [("X.csv", True), ("X.csv", False), ("X.parquet", False)]
)
def test_five_million_bars_fit_into_memory(tmp_path, name, epochs):
    write(tmp_path / name, epochs=epochs)
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=True,
    )
    bars, peak = map(int, done.stdout.split())
    assert bars == ROWS
    assert peak < MOST
