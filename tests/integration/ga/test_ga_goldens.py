"""Digests that every machine must come to, of whatever processor, library build or thread count.

If one of them fails here and not elsewhere, this machine computes other bits. If it fails
everywhere, the change is one of results: raise ``KERNEL_VERSION`` (evaluations) or
``SEARCH_VERSION`` (breeding), and write the new digest here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ga.evaluation.evaluate import evaluate
from ga.evaluation.folds import visible
from ga.evaluation.settings import Settings
from ga.evolution import Evolution, Plan
from ga.execution import numerics_check
from ga.families import FAMILIES
from ga.market import Market
from ga.numerics import Stream, exp
from ga.sources import load_market
from ga.sources.synthetic import synthetic
from tests.support.golden_run import ROOT, RUN, RUN_DIGEST, RUN_EDGE, RUN_MARKET

MARKETS = {
    "eurusd": "453172d090c33d4b",
    "goog": "cea30ff6f552defd",
    "synthetic": "9394adf1e3323c83",
    "synthetic:assets=3,bars=700,seed=9,step_minutes=15": "4a56f36ea64a1e0a",
}
HISTORIES = {
    "ema_crossover": "332a0441363d7022",
    "donchian_breakout": "a175b62ea2e25961",
    "rsi_filter": "91557d0c97cf7642",
    "stochastic_oscillator": "b0a4094ec98f5283",
    "sma_trend_filter": "e0103dcac6fa7c5b",
    "atr_stop_loss": "766d31fa4b055a35",
    "ichimoku_cloud": "b06def6d104b10c6",
    "vwap_reversion": "d8ea371622d589b7",
    "volatility_scaling": "e2b9ef00cdc9d5f1",
    "funding_rate_carry": "733d2259b5af2ca8",
    "linear_svc_classifier": "1699d3dae91daeec",
    "pca_tree_quantile": "051d3e653082ee16",
    "bollinger_bands": "2e163e77f3689ef9",
    "nadaraya_watson": "a21a31c16f09e950",
}
FILES = {
    "csv": "f047d5b14951c3f2",
    "parquet": "f047d5b14951c3f2",
    "feather": "f047d5b14951c3f2",
}


def test_family_has_golden_digest() -> None:
    assert numerics_check.prove().digests == numerics_check.EXPECTED
    assert numerics_check.prove().refusal is None


@pytest.fixture(scope="module")
def seen() -> Market:
    return visible(synthetic(assets=2, bars=1600, seed=3), Settings())


@pytest.mark.parametrize("family", FAMILIES)
def test_short_history_has_golden_digest(family: str, seen: Market) -> None:
    plan = Plan(seed=7, population_size=12, generations=3, families=(family,))
    evolution = Evolution(plan)
    while not evolution.done:
        evolution.tell(evaluate(seen, Settings(), evolution.ask()))
    assert evolution.digest[:16] == HISTORIES[family]


@pytest.mark.parametrize("spec", MARKETS)
def test_market_source_has_golden_hash(spec: str) -> None:
    assert load_market(spec).hash[:16] == MARKETS[spec]


@pytest.mark.parametrize("kind", FILES)
def test_file_format_has_golden_hash(kind: str, tmp_path: Path) -> None:
    rng, bars = Stream(key=(4, 2)), 1000
    close = 50.0 * exp(np.cumsum(0.01 * rng.normal(bars)))
    table = pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=bars, freq="h", tz="UTC"),
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close,
            "volume": 10.0 * rng.random(bars),
        }
    )
    path = tmp_path / f"coin.{kind}"
    {"csv": table.to_csv, "parquet": table.to_parquet, "feather": table.to_feather}[kind](
        path, **({"index": False} if kind == "csv" else {})
    )
    assert load_market(str(path), timeframe="4h").hash[:16] == FILES[kind]


def come_to(tmp_path: Path, *arguments: str, **env: str) -> tuple[object, ...]:
    """Market hash, history digest and statistics of the golden run, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "ga", *RUN, "--store", f"sqlite:///{tmp_path}/run.db", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    edge = found["edge"]
    statistics = (edge["deflated"], edge["overfitting"], edge["holdout_probability"])
    return found["market"]["hash"], found["digest"], statistics


def test_whole_run_has_golden_digest(tmp_path: Path) -> None:
    assert come_to(tmp_path) == (RUN_MARKET, RUN_DIGEST, RUN_EDGE)


# Compiled for these, kernels use other instructions, vectors of another width, other constants.
_COMPILED = ("generic", "haswell", "skylake-avx512")
_ROWS = {
    "NumPy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "NumPy without AVX2": {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    "C library without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
    "BLAS of 2008": {"OPENBLAS_CORETYPE": "Nehalem"},
    "BLAS with AVX2": {"OPENBLAS_CORETYPE": "Haswell"},
    "BLAS with two threads": {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    **{
        f"kernels for {name}, compiled now": {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": ""}
        for name in _COMPILED
    },
}


def runs_here(row: str) -> bool:
    """Whether this processor has the instructions that a row's kernels are made of."""
    flags = Path("/proc/cpuinfo").read_text()
    if "skylake-avx512" in row:
        return "avx512vl" in flags
    return "haswell" not in row or "avx2" in flags


def numpy_features(env: dict[str, str]) -> dict[str, bool]:
    """For which processors NumPy's routines are used in a process with these variables."""
    code = (
        "import json; from numpy._core._multiarray_umath import __cpu_features__ as found;"
        " print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, bool] = json.loads(done.stdout)
    return found


@pytest.mark.processors
@pytest.mark.parametrize("row", _ROWS)
def test_whole_run_is_equal_on_other_processors(row: str, tmp_path: Path) -> None:
    if not runs_here(row):
        pytest.skip("this processor lacks the instructions")
    env, cache = dict(_ROWS[row]), tmp_path / "cache"
    if compiled_now := "NUMBA_CPU_NAME" in env:
        env["GA_CACHE_DIR"] = str(cache)
    if turned_off := env.get("NPY_DISABLE_CPU_FEATURES", "").split():
        features = numpy_features(env)
        assert [name for name in turned_off if features[name]] == []
    golden = (RUN_MARKET, RUN_DIGEST, RUN_EDGE)
    assert come_to(tmp_path, "--workers", "2", **env) == golden
    kept = sorted(cache.rglob("*.kernel"))
    assert bool(kept) == compiled_now
    # The second time the kernels are there.
    assert come_to(tmp_path, "--workers", "1", **env) == golden
    assert sorted(cache.rglob("*.kernel")) == kept
