"""The documentation is built without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REMOTE = re.compile(
    r"""<(?:script|img|iframe)[^>]+src=["']?(?:https?:)?//|"""
    r"""<link[^>]+rel=["']?(?:stylesheet|preconnect|icon)["']?[^>]+href=["']?(?:https?:)?//"""
)


@pytest.mark.slow
def test_site_is_complete_and_loads_nothing_remote(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    # Nothing listens there: a build that asked the network would fail.
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **nowhere},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(tmp_path).as_posix(): page for page in tmp_path.rglob("*.html")}
    assert {"index.html", "architecture.html", "glossary.html", "api/ga.html"} <= pages.keys()
    for name, page in pages.items():
        assert not REMOTE.search(page.read_text(encoding="utf-8")), name
    assert "load_market" in pages["api/ga.sources.html"].read_text(encoding="utf-8")
