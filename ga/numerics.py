"""Elementary functions and random numbers with the same bits on every processor.

NumPy, the C library and BLAS choose their routines by processor and build, which can change the
last bit of a result. So everything that a history depends on is computed here, from additions,
multiplications, divisions and square roots, which IEEE 754 defines exactly. LLVM keeps their order
and does not fuse them, because kernels are compiled without fastmath.

``exp``, ``log``, ``cos_turn``, ``sin_turn`` and ``normal_cdf`` are within 1 ulp of the true value
(tests/unit/ga/test_ga_numerics.py compares them with mpmath).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ga.backtest.jit import kernel

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

# ln 2 in two parts: the first has 32 bits, so that its products with an exponent are exact.
_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
_PER_LN2: Final = float.fromhex("0x1.71547652b82fep+0")
_ROUND: Final = 6755399441055744.0
"""1.5 * 2^52: adding it rounds to a whole number, which is then in the low bits."""
_ROUND_BITS: Final = np.float64(_ROUND).view(np.int64)
_ONE_BITS: Final = np.float64(1.0).view(np.int64)
_ROOT_HALF_BITS: Final = np.float64(0.7071067811865476).view(np.int64)
_FRACTION: Final = 52
"""Fraction bits of a double."""

# pi / 2 in two parts; the first has 26 bits, so that its products with 26 bits are exact.
_QUARTER_HIGH: Final = float.fromhex("0x1.921fb50000000p+0")
_QUARTER_LOW: Final = float.fromhex("0x1.110b4611a6263p-26")
_HIGH_HALF: Final = ~np.int64((1 << 27) - 1)


def _cast(source: Any, target: Any) -> Any:
    """An intrinsic that reinterprets the bits of one type as another type of the same size."""

    def typed(_typing: Any, value: Any) -> Any:
        def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            kind = ir.DoubleType() if target == types.float64 else ir.IntType(64)
            return builder.bitcast(args[0], kind)

        return (target(source), codegen) if value == source else None

    return intrinsic(typed)


_bits: Any = _cast(types.float64, types.int64)
_float: Any = _cast(types.int64, types.float64)


@kernel()
def exp_of(x: float) -> float:
    """e to the power x, within 1 ulp; subnormal, 0 and infinity where the result is."""
    # Beyond these the result is infinity or 0; NaN passes.
    y = 710.0 if x > 710.0 else x
    y = -746.0 if y < -746.0 else y
    # x = k ln 2 + r with |r| <= ln 2 / 2; ``lost`` is the rounding error of r.
    rounded = y * _PER_LN2 + _ROUND
    k, whole = _bits(rounded) - _ROUND_BITS, rounded - _ROUND
    high, low = y - whole * _LN2_HIGH, whole * _LN2_LOW
    r = high - low
    lost = (high - r) - low
    # Taylor's series: the first term left out is below 2^-57 of the sum.
    q = 1.0 / 6227020800.0
    q = q * r + 1.0 / 479001600.0
    q = q * r + 1.0 / 39916800.0
    q = q * r + 1.0 / 3628800.0
    q = q * r + 1.0 / 362880.0
    q = q * r + 1.0 / 40320.0
    q = q * r + 1.0 / 5040.0
    q = q * r + 1.0 / 720.0
    q = q * r + 1.0 / 120.0
    q = q * r + 1.0 / 24.0
    q = q * r + 1.0 / 6.0
    q = q * r + 0.5
    value = 1.0 + (r + (r * r * q + lost))
    # In two steps, because 2^k alone may be subnormal or infinite.
    half = k >> 1
    first = _float((half << _FRACTION) + _ONE_BITS)
    second = _float(((k - half) << _FRACTION) + _ONE_BITS)
    return value * first * second


@kernel()
def log_of(x: float) -> float:
    """Natural logarithm of x, within 1 ulp; -infinity at 0, NaN below."""
    tiny = x < 2.2250738585072014e-308
    y = x * 18014398509481984.0 if tiny else x
    # x = 2^e m with m from sqrt(1/2) to sqrt(2).
    raw = _bits(y)
    e = (raw - _ROOT_HALF_BITS) >> _FRACTION
    f = _float(raw - (e << _FRACTION)) - 1.0
    power = _float(e + _ROUND_BITS) - _ROUND
    power = power - 54.0 if tiny else power
    # log(1 + f) = 2 atanh(s), s = f / (2 + f), by its series in s^2 <= 0.0295.
    s = f / (2.0 + f)
    z = s * s
    q = 2.0 / 23.0
    q = q * z + 2.0 / 21.0
    q = q * z + 2.0 / 19.0
    q = q * z + 2.0 / 17.0
    q = q * z + 2.0 / 15.0
    q = q * z + 2.0 / 13.0
    q = q * z + 2.0 / 11.0
    q = q * z + 2.0 / 9.0
    q = q * z + 2.0 / 7.0
    q = q * z + 2.0 / 5.0
    q = q * z + 2.0 / 3.0
    # 2 s = f - s f, and s f = f^2 / 2 - s f^2 / 2: so the largest term, f, is exact.
    square = 0.5 * f * f
    small = square - (s * (square + z * q) + power * _LN2_LOW)
    found = power * _LN2_HIGH - (small - f)
    found = x if x == np.inf else found
    found = -np.inf if x == 0.0 else found
    return found if x >= 0.0 else np.nan


@kernel()
def _quadrant(turns: float) -> tuple[int, float, float]:
    """(q, sine, cosine) of the angle a with q a quarter turn, |a| <= pi / 4, and q + a = turns."""
    quarters = 4.0 * turns
    rounded = quarters + _ROUND
    quadrant, r = _bits(rounded) - _ROUND_BITS, quarters - (rounded - _ROUND)
    # The angle is r pi / 2, as a product without loss: 26 bits of r times 26 bits of pi / 2.
    r_high = _float(_bits(r) & _HIGH_HALF)
    first = r_high * _QUARTER_HIGH
    rest = (r - r_high) * _QUARTER_HIGH + r * _QUARTER_LOW
    angle = first + rest
    z = angle * angle
    p = 1.0 / 355687428096000.0
    p = p * z - 1.0 / 1307674368000.0
    p = p * z + 1.0 / 6227020800.0
    p = p * z - 1.0 / 39916800.0
    p = p * z + 1.0 / 362880.0
    p = p * z - 1.0 / 5040.0
    p = p * z + 1.0 / 120.0
    p = p * z - 1.0 / 6.0
    sine = first + (rest + angle * (z * p))
    q = 1.0 / 20922789888000.0
    q = q * z - 1.0 / 87178291200.0
    q = q * z + 1.0 / 479001600.0
    q = q * z - 1.0 / 3628800.0
    q = q * z + 1.0 / 40320.0
    q = q * z - 1.0 / 720.0
    q = q * z + 1.0 / 24.0
    half = 0.5 * z
    top = 1.0 - half
    # The rounding errors of ``top`` and of ``angle``.
    lost = ((1.0 - top) - half) - angle * ((first - angle) + rest)
    cosine = top + (lost + z * (z * q))
    return quadrant, sine, cosine


@kernel()
def cos_turn_of(turns: float) -> float:
    """cos(2 pi turns) for |turns| <= 2^49, within 1 ulp."""
    quadrant, sine, cosine = _quadrant(turns)
    value = sine if quadrant & 1 else cosine
    return -value if (quadrant + 1) & 2 else value


@kernel()
def sin_turn_of(turns: float) -> float:
    """sin(2 pi turns) for |turns| <= 2^49, within 1 ulp."""
    quadrant, sine, cosine = _quadrant(turns)
    value = cosine if quadrant & 1 else sine
    return -value if quadrant & 2 else value


@kernel()
def exp(values: Floats) -> Floats:
    """``exp_of`` of each value of (N,)."""
    out = np.empty(values.size)
    for i in range(values.size):
        out[i] = exp_of(values[i])
    return out


@kernel()
def log(values: Floats) -> Floats:
    """``log_of`` of each value of (N,)."""
    out = np.empty(values.size)
    for i in range(values.size):
        out[i] = log_of(values[i])
    return out


@kernel()
def _normal(words: Words) -> Floats:
    """(2 N,) standard normal numbers from (2 N,) random words: the numbers at i and N + i from the
    words there (Box and Muller, 1958).
    """
    half = words.size // 2
    out = np.empty(words.size)
    for i in range(half):
        # 52 random bits as the fraction of a number from 1 to below 2.
        first = _float(np.int64(words[i] >> np.uint64(12)) | _ONE_BITS)
        second = _float(np.int64(words[half + i] >> np.uint64(12)) | _ONE_BITS)
        # The logarithm's argument is never 0.
        radius = np.sqrt(-2.0 * log_of(2.0 - first))
        turns = second - 1.0
        out[i] = radius * cos_turn_of(turns)
        out[half + i] = radius * sin_turn_of(turns)
    return out


@kernel()
def total(values: Floats) -> float:
    """Sum of (N,), in order."""
    found = 0.0
    for i in range(values.size):
        found += values[i]
    return found


@kernel()
def decaying_sums(values: Floats, keep: float) -> Floats:
    """(N,) sums, each the value plus ``keep`` times the sum before."""
    out = np.empty(values.size)
    found = 0.0
    for i in range(values.size):
        found = keep * found + values[i]
        out[i] = found
    return out


@kernel()
def totals(rows: Floats) -> Floats:
    """(K,) sums of the columns of (N, K), in the order of the rows."""
    found = np.zeros(rows.shape[1])
    for i in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            found[k] += rows[i, k]
    return found


@kernel()
def segment_totals(values: Floats, starts: NDArray[np.int64]) -> Floats:
    """(S,) sums of (N,) from each start to the next, the last to the end; starts increase."""
    found = np.zeros(starts.size)
    for s in range(starts.size):
        stop = starts[s + 1] if s + 1 < starts.size else values.size
        for i in range(starts[s], stop):
            found[s] += values[i]
    return found


@kernel()
def dot(left: Floats, right: Floats) -> float:
    """Inner product of (K,) and (K,), added in order."""
    found = 0.0
    for k in range(left.size):
        found += left[k] * right[k]
    return found


@kernel()
def scatter_matrix(rows: Floats) -> Floats:
    """(K, K) inner products of the columns of (N, K), added in the order of the rows."""
    size = rows.shape[1]
    out = np.zeros((size, size))
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(size):
            for k in range(size):
                out[j, k] += row[j] * row[k]
    return out


@kernel()
def product(left: Floats, right: Floats) -> Floats:
    """Matrix product (N, M) of (N, K) and (K, M), each sum from k = 0 on."""
    out = np.zeros((left.shape[0], right.shape[1]))
    for i in range(left.shape[0]):
        for k in range(left.shape[1]):
            for j in range(right.shape[1]):
                out[i, j] += left[i, k] * right[k, j]
    return out


@kernel()
def _rotate(first: Floats, second: Floats, cosine: float, sine: float) -> None:
    for k in range(first.size):
        low, high = first[k], second[k]
        first[k], second[k] = cosine * low - sine * high, sine * low + cosine * high


@kernel()
def eigenvectors(symmetric: Floats) -> Floats:
    """(D, D) orthonormal eigenvectors in columns, of descending eigenvalues.

    Cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, 4th ed., 8.5).
    """
    size = symmetric.shape[0]
    a, vectors = symmetric.copy(), np.eye(size)
    for _ in range(30):
        outside = inside = 0.0
        for i in range(size):
            inside += a[i, i] * a[i, i]
            for j in range(i):
                outside += a[i, j] * a[i, j]
        if outside <= 1e-32 * inside:
            break
        for p in range(size - 1):
            for q in range(p + 1, size):
                both = a[p, q]
                if both == 0.0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * both)
                root = np.sqrt(theta * theta + 1.0)
                tangent = 1.0 / (theta + root) if theta >= 0.0 else 1.0 / (theta - root)
                cosine = 1.0 / np.sqrt(tangent * tangent + 1.0)
                sine = tangent * cosine
                at_p, at_q = a[p, p] - tangent * both, a[q, q] + tangent * both
                _rotate(a[p], a[q], cosine, sine)
                a[p, p], a[q, q], a[p, q], a[q, p] = at_p, at_q, 0.0, 0.0
                for k in range(size):
                    a[k, p], a[k, q] = a[p, k], a[q, k]
                # Transposed, so that a vector is a row of memory.
                _rotate(vectors[p], vectors[q], cosine, sine)
    order = np.arange(size)
    # Insertion sort, so that equal eigenvalues keep their order.
    for i in range(1, size):
        at = i
        while at > 0 and a[order[at], order[at]] > a[order[at - 1], order[at - 1]]:
            order[at], order[at - 1] = order[at - 1], order[at]
            at -= 1
    out = np.empty((size, size))
    for column in range(size):
        out[:, column] = vectors[order[column]]
    return out


@kernel()
def quantiles(values: Floats, levels: Floats) -> Floats:
    """(Q,) quantiles of (N,) at levels 0..1: between neighbours in proportion (Hyndman and Fan,
    1996, type 7).
    """
    ordered = np.sort(values)
    out = np.empty(levels.size)
    for i in range(levels.size):
        place = levels[i] * (ordered.size - 1)
        low = int(place)
        high = min(low + 1, ordered.size - 1)
        out[i] = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return out


def mean(values: Floats | Iterable[float]) -> float:
    """Mean of at least one value, summed in order."""
    array = np.ascontiguousarray(values if isinstance(values, np.ndarray) else list(values))
    return float(total(array.astype(np.float64).ravel())) / array.size


class Stream:
    """Random numbers of a Philox counter (Salmon et al., 2011), a fixed number of words for each.

    The words come from NumPy, whose bit generators never change (NEP 19). The distributions are
    computed here, because NumPy's use the C library and may change.
    """

    def __init__(self, *, key: tuple[int, int], counter: tuple[int, int] = (0, 0)) -> None:
        """``key``: two words, what the numbers are for. ``counter``: its upper two words."""
        self._bits = np.random.Philox(key=list(key), counter=[0, 0, *counter])

    def random(self, shape: int | tuple[int, ...]) -> Floats:
        """Multiples of 2^-53 from 0 to below 1; the number at index i of the whole reads word i."""
        words = self._words(int(np.prod(shape, dtype=np.int64)))
        return np.asarray((words >> np.uint64(11)) * 2.0**-53).reshape(shape)

    def normal(self, shape: int | tuple[int, ...]) -> Floats:
        """Standard normal numbers, one word for each."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.asarray(_normal(self._words(count + count % 2)))[:count].reshape(shape)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """The numbers 0..count - 1 in random order."""
        return np.argsort(self._words(count), kind="stable").astype(np.int64)

    def _words(self, count: int) -> Words:
        words: Words = self._bits.random_raw(count)
        return words
