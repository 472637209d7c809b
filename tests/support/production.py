"""The production stack for real, where a Docker engine and its images are."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def production(tmp_path: Path) -> Iterator[Path]:
    """The real stack from a copy of the checkout's ``deploy/``; gone afterwards."""
    from evolution_gate.fixtures.backends.container import stack

    if missing := stack.available():
        pytest.skip(missing)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    file = tmp_path / "deploy" / "docker-compose.yml"
    try:
        yield file
    finally:
        subprocess.run(
            [sys.executable, "-m", "ga", "cluster", "--file", str(file), "down", "--volumes"],
            check=True,
            capture_output=True,
        )
