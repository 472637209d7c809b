"""``python -m tools.screenshot PAGE --out FILE``: screenshot of a page in Chromium."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_SECONDS: Final = 60


def main(argv: Sequence[str] | None = None) -> int:
    """Take a screenshot. 0: done; 1: it failed; 2: bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshot", description=__doc__)
    parser.add_argument("page", type=Path, help="an HTML file, for example a run's report.html")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a PNG file")
    parser.add_argument("--width", type=int, default=1280, help="pixels (default 1280)")
    parser.add_argument("--height", type=int, default=1400, help="pixels (default 1400)")
    options = parser.parse_args(argv)
    if not options.page.is_file():
        parser.error(f"{options.page}: no such page; make one: pytest -m validation")
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        parser.error("no Chromium on PATH; for example `apt-get install chromium`")
    done = subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         f"--window-size={options.width},{options.height}",
         f"--screenshot={options.out.absolute()}", options.page.absolute().as_uri()],
        capture_output=True, text=True, timeout=_SECONDS,
    )  # fmt: skip
    if done.returncode or not options.out.exists():
        print(f"error: {browser} failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
