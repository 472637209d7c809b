"""Compiled kernels on disk: keyed by all they are made of, checked, and never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ga.backtest import kernel as backtest_kernel
from ga.backtest import kernel_cache
from ga.backtest.jit import kernel
from ga.backtest.simd import vectors

ROOT = Path(__file__).parents[3]
SCRIPT = """
from ga.backtest.jit import kernel
@kernel()
def answer(x):
    return 40.0 + x
print(answer(2.0), len(answer.stats.cache_hits))
"""
"""A kernel of its own: in a fraction of a second."""


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Compile the script's kernel in a process whose cache is ``folder``."""
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "GA_", "XDG_"))}
    variables = {**kept, "PYTHONPATH": str(ROOT), "GA_CACHE_DIR": str(folder), **env}
    return subprocess.run(
        [sys.executable, str(script)],
        env={name: value for name, value in variables.items() if value},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kernel"))


def test_kernel_is_compiled_once_and_then_loaded(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(cache).stdout == "42.0 0\n"
    (file,) = files(cache)
    before = file.stat().st_mtime_ns
    assert run(cache).stdout == "42.0 1\n"
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["empty", "short", "one bit", "not ours"])
def test_damaged_file_is_recompiled_and_replaced(
    tmp_path: Path, monkeypatch, capsys, damage: str
) -> None:
    monkeypatch.setattr(kernel_cache, "folder", lambda: tmp_path)

    def answer(x):
        return 40.0 + x

    def fresh() -> tuple[float, int]:
        compiled = kernel()(answer)
        return compiled(2.0), len(compiled.stats.cache_hits)

    assert fresh() == (42.0, 0)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    flipped = bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]])
    content = {"empty": b"", "short": whole[:10], "one bit": flipped, "not ours": b"x" * 4096}
    file.write_bytes(content[damage])
    assert fresh() == (42.0, 0)
    assert capsys.readouterr().err == (
        f"ga: compiled kernel {file} was damaged; it is compiled again and replaced\n"
    )
    assert fresh() == (42.0, 1)
    assert capsys.readouterr().err == ""


def test_numba_cache_dir_moves_the_keyed_folder(tmp_path: Path) -> None:
    cache = tmp_path / "numba"
    assert run(cache, GA_CACHE_DIR="", NUMBA_CACHE_DIR=str(cache)).stdout == "42.0 0\n"
    (file,) = files(cache)
    assert file.parent == cache / "evolution-gate" / "numba" / file.parent.name
    assert run(cache, GA_CACHE_DIR="", NUMBA_CACHE_DIR=str(cache)).stdout == "42.0 1\n"
    # Another compiler's settings are another set.
    assert run(cache, NUMBA_OPT="1").stdout == "42.0 0\n"
    assert len({one.parent for one in files(cache)}) == 2


@pytest.fixture
def engine(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A copy of the engine's code, of which the key is made."""
    copy = tmp_path / "engine"
    shutil.copytree(kernel_cache.ENGINE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kernel_cache, "ENGINE", copy)
    kernel_cache.sources.cache_clear()
    yield copy
    kernel_cache.sources.cache_clear()


def key() -> str:
    """The key of the copy as it is now."""
    kernel_cache.sources.cache_clear()
    return kernel_cache.key()


def test_key_is_independent_of_location(engine: Path, monkeypatch) -> None:
    assert kernel_cache.sources()[0].is_relative_to(engine)
    copied = key()
    monkeypatch.undo()
    assert key() == copied


@pytest.mark.parametrize(
    "name",
    [
        "backtest/jit.py",
        "backtest/kernel.py",
        "backtest/panel.py",
        "backtest/simd/vectors.py",
        "families/base.py",
        "families/signals.py",
        "numerics.py",
    ],
)
def test_changed_kernel_source_changes_key(engine: Path, name: str) -> None:
    before = key()
    changed = engine / name
    changed.write_text(changed.read_text() + "\n")
    assert key() != before


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("fresh.py", "from ga.backtest.jit import kernel\n"),
        ("families/fresh.py", "from ga.backtest import jit\n"),
        ("new/fresh.py", "import ga.backtest.jit as compiler\n"),
        ("families/fresh.py", "import numba\n"),
        ("fresh.py", "from numba.extending import intrinsic\n"),
        (
            "fresh.py",
            "def f():\n    from ga.backtest.jit import (\n        kernel,  # (ours)\n    )\n",
        ),
    ],
)
def test_new_kernel_module_changes_key(engine: Path, name: str, kernels: str) -> None:
    before = key()
    (engine / name).parent.mkdir(exist_ok=True)
    (engine / name).write_text(kernels)
    assert key() != before


@pytest.mark.parametrize(
    "statement",
    [
        "from ga.fresh import LEVEL\n",
        "from ga import fresh\n",
        "import ga.fresh\n",
        "from .fresh import LEVEL\n",
        "from . import fresh\n",
    ],
)
def test_new_import_of_kernel_module_changes_key(engine: Path, statement: str) -> None:
    kernels = engine / "some.py"
    kernels.write_text(f"import numba\n{statement}")
    before = key()
    (engine / "fresh.py").write_text("LEVEL = 1\n")
    added = key()
    assert added != before
    (engine / "fresh.py").write_text("LEVEL = 2\n")
    assert key() not in (before, added)


def test_unrelated_source_keeps_key(engine: Path) -> None:
    before = key()
    (engine / "fresh.py").write_text("from ga.backtest.panel import Panel\n")
    for name in ("runner.py", "execution/ray/driver.py", "ledger/store.py"):
        (engine / name).write_text((engine / name).read_text() + "\n")
    assert key() == before


def test_every_kernel_module_is_a_source() -> None:
    """By another sign than the imports."""
    marks = ("@kernel(", "@masks", "intrinsic(")
    files = kernel_cache.ENGINE.rglob("*.py")
    users = {path for path in files if any(mark in path.read_text() for mark in marks)}
    assert users - set(kernel_cache.sources()) == set()
    assert len(users) > 20


def test_uncovered_file_is_distinguished_by_its_text(tmp_path: Path) -> None:
    def stamp(file: str) -> str:
        code = compile("def f(): pass", file, "exec")
        names: dict[str, Any] = {}
        exec(code, names)
        return kernel_cache.Locator(names["f"]).get_disambiguator()

    other = tmp_path / "other.py"
    other.write_text("1")
    before = stamp(str(other))
    other.write_text("2")
    assert stamp(str(other)) != before
    assert stamp(str(vectors.__file__)) == "1"
    assert stamp("<string>") == "1"


def test_unwritable_folder_falls_back_to_temporary_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    taken = str(tmp_path / "file")
    found = run(
        tmp_path / "cache",
        GA_CACHE_DIR=taken,
        XDG_CACHE_HOME=taken,
        HOME=taken,
        TMPDIR=str(tmp_path),
    )
    assert found.stdout == "42.0 0\n"
    assert len(files(tmp_path / f"evolution-gate-{os.getuid()}")) == 1


def test_unwritable_kernel_file_only_warns(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    # No file of any size may be written, as on a full volume.
    script = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n{SCRIPT}"
    (tmp_path / "full.py").write_text(script)
    found = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(tmp_path / "full.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "GA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "42.0 0\n"
    assert "compiled kernels cannot be kept in" in found.stderr
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_folder_writable_by_others_is_not_used(tmp_path: Path, monkeypatch) -> None:
    for name in ("GA_CACHE_DIR", "GA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "theirs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    open_ = tmp_path / "theirs" / "evolution-gate" / "numba" / kernel_cache.key()
    open_.mkdir(parents=True)
    open_.chmod(0o777)
    found = kernel_cache.folder.__wrapped__()
    assert found is not None
    assert found.is_relative_to(tmp_path / "mine")
    # Named by the user, it is: an image's cache belongs to the user who built it.
    monkeypatch.setenv("GA_CACHE_DIR", str(tmp_path / "theirs"))
    assert kernel_cache.folder.__wrapped__() == open_


def test_kernels_are_compiled_despite_disabled_jit(tmp_path: Path) -> None:
    assert run(tmp_path / "cache", NUMBA_DISABLE_JIT="1").stdout == "42.0 0\n"


def test_first_compilation_reports_progress(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(kernel_cache, "folder", lambda: tmp_path)
    now = [100.0]
    monkeypatch.setattr(kernel_cache.time, "monotonic", lambda: now[0])
    compiling = kernel_cache.Compiling(3)
    for seconds in (1.0, 7.0, 2.0):
        now[0] += seconds
        compiling.done()
    compiling.end()
    assert capsys.readouterr().err.splitlines() == [
        "ga: compiling kernels, once on this machine: about a minute",
        "ga: kernels of 2 of 3 families are compiled",
        "ga: kernels are compiled (10 s)",
    ]
    (tmp_path / "numerics.exp.kernel").write_text("")
    kernel_cache.Compiling(1)
    assert "compiling kernels" in capsys.readouterr().err
    # The back-test's kernels, which no market needs.
    (tmp_path / f"{Path(backtest_kernel.__file__).stem}.lanes.kernel").write_text("")
    compiling = kernel_cache.Compiling(1)
    compiling.done()
    compiling.end()
    assert capsys.readouterr().err == ""
