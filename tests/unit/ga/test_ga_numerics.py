"""Portable functions: as exact as they say, and nothing else is used where bits matter."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ga import normal, numerics
from ga.backtest.jit import kernel

ROOT = Path(__file__).parents[3] / "ga"
mpmath.mp.prec = 240


def ulps(found: float, true: mpmath.mpf) -> float:
    """How many units in the last place of the true value a double is away from it."""
    unit = float(np.spacing(abs(float(true)))) if float(true) else 5e-324
    return float(abs((mpmath.mpf(found) - true) / mpmath.mpf(unit)))


@given(st.floats(-745.1, 709.78))
def test_exp_is_within_one_ulp(x: float) -> None:
    assert ulps(numerics.exp_of(x), mpmath.exp(mpmath.mpf(x))) <= 1.0


@given(st.one_of(st.floats(5e-324, 1.7e308), st.floats(0.5, 2.0)))
def test_log_is_within_one_ulp(x: float) -> None:
    assert ulps(numerics.log_of(x), mpmath.log(mpmath.mpf(x))) <= 1.0


@given(st.floats(-4.0, 4.0).filter(lambda t: t == 0.0 or abs(t) > 1e-300))
def test_sine_and_cosine_are_within_one_ulp(turns: float) -> None:
    angle = 2 * mpmath.pi * mpmath.mpf(turns)
    # sinpi and cospi know the exact zeros.
    assert ulps(numerics.sin_turn_of(turns), mpmath.sinpi(2 * mpmath.mpf(turns))) <= 1.0
    assert ulps(numerics.cos_turn_of(turns), mpmath.cospi(2 * mpmath.mpf(turns))) <= 1.0
    assert mpmath.almosteq(mpmath.sinpi(2 * mpmath.mpf(turns)), mpmath.sin(angle), abs_eps=1e-60)


@pytest.mark.parametrize(
    ("function", "true", "low", "high"),
    [
        (numerics.exp, mpmath.exp, -1.0, 1.0),
        (numerics.exp, mpmath.exp, -744.0, -700.0),
        (numerics.log, mpmath.log, 0.70, 0.72),
        (numerics.log, mpmath.log, 1.40, 1.42),
        (numerics.log, mpmath.log, 1 - 1e-6, 1 + 1e-6),
    ],
)
def test_range_boundaries_are_within_one_ulp(
    function: Callable[[np.ndarray], np.ndarray],
    true: Callable[[mpmath.mpf], mpmath.mpf],
    low: float,
    high: float,
) -> None:
    values = np.linspace(low, high, 2001)
    found = function(values)
    worst = max(ulps(f, true(mpmath.mpf(v))) for v, f in zip(values, found, strict=True))
    assert worst <= 1.0


def test_special_values_match_ieee() -> None:
    nan, infinity = math.nan, math.inf
    given_ = np.array([nan, infinity, -infinity, 710.0, -746.0, 0.0, -0.0])
    found = [nan, infinity, 0.0, infinity, 0.0, 1.0, 1.0]
    np.testing.assert_array_equal(numerics.exp(given_), found)
    given_ = np.array([nan, infinity, -infinity, -1.0, 0.0, -0.0, 1.0])
    found = [nan, infinity, nan, nan, -infinity, -infinity, 0.0]
    np.testing.assert_array_equal(numerics.log(given_), found)


@given(st.floats(-38.0, 8.2))
def test_normal_distribution_is_within_one_ulp(x: float) -> None:
    assert ulps(normal.normal_cdf(x), mpmath.ncdf(mpmath.mpf(x))) <= 1.0


@settings(max_examples=25)
@given(st.floats(1e-9, 1.0, exclude_max=True))
def test_normal_quantile_inverts_distribution(p: float) -> None:
    x = normal.normal_quantile(p)
    assert x == pytest.approx(NormalDist().inv_cdf(p), rel=1e-11, abs=1e-13)


def test_invalid_probabilities_are_refused() -> None:
    assert normal.normal_quantile(0.0) == -math.inf
    assert normal.normal_quantile(1.0) == math.inf
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="a probability is"):
            normal.normal_quantile(bad)


def test_uniform_numbers_match_counter_generator() -> None:
    stream = numerics.Stream(key=(5, 6), counter=(7, 8))
    bits = np.random.Philox(key=[5, 6], counter=[0, 0, 7, 8])
    assert np.array_equal(stream.random((3, 4)).ravel(), np.random.Generator(bits).random(12))


def test_normal_numbers_are_normal_and_uncorrelated() -> None:
    drawn = numerics.Stream(key=(1, 2)).normal(200_001)
    assert stats.kstest(drawn, "norm").pvalue > 0.001
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01
    # Both numbers of a pair come from the same two words.
    half = (drawn.size + 1) // 2
    assert abs(np.corrcoef(drawn[: half - 1], drawn[half:])[0, 1]) < 0.01
    assert abs(np.corrcoef(drawn[: half - 1] ** 2, drawn[half:] ** 2)[0, 1]) < 0.01


def test_permutation_holds_every_number_once() -> None:
    stream = numerics.Stream(key=(3, 4))
    first, second = stream.permutation(500), stream.permutation(500)
    assert sorted(first) == sorted(second) == list(range(500))
    assert list(first) != list(second)


@pytest.mark.parametrize("size", [1, 2, 5, 15])
@pytest.mark.parametrize("seed", range(5))
def test_eigenvectors_match_lapack(size: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((40, size)) * np.arange(1, size + 1)
    matrix = numerics.scatter_matrix(rows)
    np.testing.assert_allclose(matrix, rows.T @ rows, rtol=1e-12)
    vectors = numerics.eigenvectors(matrix)
    theirs = np.linalg.eigh(matrix)[1][:, ::-1]
    np.testing.assert_allclose(np.abs(np.sum(vectors * theirs, axis=0)), 1.0, atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=1e-13)


def test_equal_eigenvalues_keep_their_order() -> None:
    vectors = numerics.eigenvectors(np.diag([1.0, 3.0, 1.0, 3.0]))
    assert vectors.argmax(axis=0).tolist() == [1, 3, 0, 2]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5),
)
def test_quantiles_match_numpy(values: list[float], levels: list[float]) -> None:
    found = numerics.quantiles(np.array(values), np.array(levels))
    np.testing.assert_allclose(found, np.quantile(values, levels), rtol=1e-12, atol=1e-9)


def test_sums_are_sequential() -> None:
    rows = np.random.default_rng(2).standard_normal((50, 3))
    by_hand = [0.0, 0.0, 0.0]
    for row in rows.tolist():
        by_hand = [a + b for a, b in zip(by_hand, row, strict=True)]
    assert numerics.totals(rows).tolist() == by_hand
    assert numerics.total(np.ascontiguousarray(rows[:, 0])) == by_hand[0]
    left, right = rows[:10], np.ascontiguousarray(rows[:12].T)
    np.testing.assert_allclose(numerics.product(left, right), left @ right, rtol=1e-12, atol=1e-14)
    starts = np.array([0, 7, 7, 40])
    found = numerics.segment_totals(np.ascontiguousarray(rows[:, 1]), starts)
    expected = [rows[a:b, 1].sum() for a, b in ((0, 7), (7, 7), (7, 40), (40, 50))]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@kernel()
def _fusable(a: float, b: float, c: float) -> float:
    return a * b + c


def test_products_are_rounded_before_addition() -> None:
    # Fused, the sum would be what the product has been rounded by.
    x = 1.0 + 2.0**-30
    assert _fusable(x, x, -(x * x)) == 0.0


# ---- what may not be used ----

_NOT_ON_THE_PATH = ("capacity", "service")
"""Estimates of cost, and the HTTP service: no history depends on them."""
_COUNTS_AND_SECONDS = (
    "cli",
    "execution",
    "ledger",
    "metrics.py",
    "ops",
    "runner.py",
    "verification.py",
)
"""Here ``sum`` adds nothing else."""
_PORTABLE_MATH = {"isfinite", "isnan", "isinf", "sqrt", "ceil", "floor", "nan", "inf", "e", "pi"}
_NUMPY = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "power", "float_power"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "hypot", "cbrt", "sinc"),
    *("sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"),
    *("dot", "vdot", "inner", "outer", "matmul", "tensordot", "einsum", "convolve", "correlate"),
    *("linalg", "fft", "random", "corrcoef", "cov", "polyfit", "vander", "kron"),
    *("sum", "mean", "average", "std", "var", "nansum", "nanmean", "nanstd", "nanvar", "prod"),
    *(
        "geomspace",
        "logspace",
        "quantile",
        "percentile",
        "reduce",
        "reduceat",
        "trapezoid",
        "interp",
    ),
}
_METHODS = {"sum", "mean", "std", "var", "dot", "prod", "reduceat", "standard_normal", "lognormal"}
_ALLOWED = {
    # Bits of a counter, and counts of whole numbers.
    ("numerics.py", "np.random"),
    ("numerics.py", "np.random.Philox"),
    # Of decimals, of whole numbers, and of seconds to wait.
    ("normal.py", "**"),
    ("families/pca_tree_quantile.py", "**"),
    # Of whole numbers, modulo 2 to the power of 32.
    ("hashing.py", "**"),
    ("hashing.py", "vectors.sum"),
    ("sources/hyperliquid_api.py", "**"),
    ("numerics.py", "np.prod"),
    # Whole numbers: bytes, bars, pages, and how many hold.
    ("analysis/holdout.py", "last.sum"),
    ("analysis/overfitting.py", ".sum"),
    ("backtest/panel.py", "sum"),
    ("market.py", "sum"),
    ("market.py", "steps.sum"),
    ("series.py", "sum"),
    ("sources/bars.py", "empty.sum"),
    ("sources/columns.py", "sum"),
    ("sources/dialect.py", "sum"),
    ("sources/epochs.py", "**"),
    ("sources/hyperliquid.py", "sum"),
    ("sources/intervals.py", "sum"),
    ("sources/numbers.py", "sum"),
    ("sources/numbers.py", ".sum"),
    ("sources/opening.py", "sum"),
    ("sources/reading.py", "bad.sum"),
    ("sources/suspects.py", "sum"),
    ("sources/suspects.py", "still.sum"),
    ("sources/suspects.py", "moving.sum"),
    ("sources/suspects.py", "weekend.sum"),
    ("sources/suspects.py", ".sum"),
    # Of prices that are picked, not added: the largest and the smallest.
    ("sources/resample.py", "np.maximum.reduceat"),
    ("sources/resample.py", "np.minimum.reduceat"),
}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr) -> bool:
    """Whether a number is made of constants alone: Python computes whole ones exactly."""
    if isinstance(node, ast.BinOp):
        return _constant(node.left) and _constant(node.right)
    return isinstance(node, ast.Constant) or (
        isinstance(node, ast.UnaryOp) and _constant(node.operand)
    )


def refused(source: str) -> list[str]:
    """What of a module's code gives bits that depend on the processor or a library."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = _name(node)
            module, _, rest = name.partition(".")
            if module == "np":
                bad = {rest.split(".")[0], node.attr} & _NUMPY
            elif module == "math":
                bad = {node.attr} - _PORTABLE_MATH
            else:
                bad = {node.attr} & _METHODS
            found += [name] if bad else []
        elif isinstance(node, ast.ImportFrom) and node.module in ("math", "statistics"):
            found += [a.name for a in node.names if a.name not in _PORTABLE_MATH]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [n for n in names if n.split(".")[0] in ("scipy", "cmath", "statistics")]
            # Under another name than the one that is looked for above.
            if isinstance(node, ast.Import):
                usual = {"numpy": "np", "math": None}
                found += [a.name for a in node.names if a.asname != usual.get(a.name, a.asname)]
            elif node.module is not None and node.module.split(".")[0] == "numpy":
                found += [a.name for a in node.names if a.name in _NUMPY]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            found.append("@")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            if not (_constant(node.left) and _constant(node.right)):
                found.append("**")
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Pow | ast.MatMult):
            found.append("**=")
        elif isinstance(node, ast.Call) and _name(node.func) in ("pow", "sum"):
            found.append(_name(node.func))
        elif isinstance(node, ast.keyword) and node.arg == "fastmath":
            found.append("fastmath")
    return found


def test_engine_uses_only_portable_numerics() -> None:
    bad = []
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(_NOT_ON_THE_PATH):
            continue
        bad += [
            f"{place}: {name}"
            for name in refused(path.read_text())
            if (place, name) not in _ALLOWED
            and not (name == "sum" and place.startswith(_COUNTS_AND_SECONDS))
        ]
    assert bad == []


@pytest.mark.parametrize(
    "line",
    [
        "x = np.exp(y)",
        "x = sum(row)",  # Python 3.12 compensates the rounding of each addition, 3.11 does not.
        "x = rows.sum(axis=0)",
        "x = np.add.reduceat(y, z)",
        "x = y @ z",
        "x = y ** 1.5 ** z",
        "x = (1.0 + y) ** (n * 0.5)",
        "x **= 0.3",
        "x = pow(y, 0.3)",
        "from numpy import exp",
        "import numpy",
        "import math as m",
        "x = np.geomspace(1.0, y, 5)",
        "x = rows.mean(axis=0)",
        "x = np.linalg.eigh(y)",
        "from math import exp",
        "x = math.log(2.0)",
        "from scipy.special import ndtr",
        "rng = np.random.default_rng(1)",
        "kernel(fastmath=True)",
    ],
)
def test_planted_violation_is_found(line: str) -> None:
    assert refused(line)
