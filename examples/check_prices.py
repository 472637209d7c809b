"""Check a CSV file of prices: report its gaps, and refuse impossible rows.

    python examples/check_prices.py [FILE.csv]

Without an argument the script writes two files: one with a gap, one with an impossible price.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ga.errors import InputError
from ga.sources import load_market


def write(path: Path, *, missing: range, wrong: int | None = None) -> None:
    """Write 400 hourly bars without those in ``missing``; bar ``wrong`` has high below low."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    lines = ["time,open,high,low,close,volume"]
    for bar in range(400):
        if bar not in missing:
            price = 100 + bar % 24
            high = price - 5 if bar == wrong else price + 1
            time = (begin + timedelta(hours=bar)).isoformat()
            lines.append(f"{time},{price},{high},{price - 1},{price},1000")
    path.write_text("\n".join(lines) + "\n")


def check(path: Path) -> bool:
    """Print what the file holds; False if the engine refuses it."""
    try:
        market = load_market(str(path))
    except InputError as error:
        print(f"refused: {error}")
        return False
    print(f"{path.name}: {market.bars} bars, {market.report.missing} missing")
    for gap in market.report.gaps:
        after = datetime.fromtimestamp(gap.after / 1e9, UTC)
        print(f"  gap of {gap.missing} bars after {after:%Y-%m-%d %H:%M}")
    return True


def main() -> int:
    """Check the named file, or a good and a bad one."""
    if len(sys.argv) > 1:
        return 0 if check(Path(sys.argv[1])) else 2
    with tempfile.TemporaryDirectory() as folder:
        good, bad = Path(folder) / "gap.csv", Path(folder) / "impossible.csv"
        write(good, missing=range(100, 112))
        write(bad, missing=range(0), wrong=7)
        return 0 if check(good) and not check(bad) else 1


if __name__ == "__main__":
    raise SystemExit(main())
