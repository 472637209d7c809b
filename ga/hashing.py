"""SHA-256 of many messages of equal length at once (FIPS 180-4), sixteen in a vector.

``hashlib`` needs a Python object and several calls for each message, which take longer than the
hash itself.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ga.backtest.jit import kernel

Octets = NDArray[np.uint8]
Words = NDArray[np.uint32]

LANES: Final = 16
BLOCK: Final = 64
"""Bytes of a block."""
DIGEST: Final = 32
"""Bytes of a digest."""
_ROUNDS: Final = 64
_VECTOR: Final = ir.VectorType(ir.IntType(32), LANES)


def _primes(count: int) -> list[int]:
    found: list[int] = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _root_bits(number: int, degree: int) -> int:
    """The first 32 bits of the fraction of a root."""
    scaled, low, high = number << (32 * degree), 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= scaled else (low, middle)
    return low & 0xFFFFFFFF


_CONSTANTS: Final = tuple(_root_bits(prime, 3) for prime in _primes(_ROUNDS))
_START: Final = np.array([_root_bits(prime, 2) for prime in _primes(8)], np.uint32)


class _Vectors:
    """Emits operations on vectors of sixteen words."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fshr.v{LANES}i32"
        self._shift = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

    def of(self, value: int) -> Any:
        return ir.Constant(_VECTOR, [value] * LANES)

    def sum(self, *terms: Any) -> Any:
        total = terms[0]
        for term in terms[1:]:
            total = self._builder.add(total, term)
        return total

    def turned(self, word: Any, *turns: int, shift: int | None = None) -> Any:
        """XOR of a word rotated to the right by each of ``turns``, and of it shifted."""
        parts = [self._builder.call(self._shift, [word, word, self.of(turn)]) for turn in turns]
        if shift is not None:
            parts.append(self._builder.lshr(word, self.of(shift)))
        found = parts[0]
        for part in parts[1:]:
            found = self._builder.xor(found, part)
        return found

    def choose(self, where: Any, first: Any, second: Any) -> Any:
        """Bits of ``first`` where a bit of ``where`` is set, else of ``second``."""
        both = self._builder.xor(first, second)
        return self._builder.xor(second, self._builder.and_(where, both))

    def majority(self, a: Any, b: Any, c: Any) -> Any:
        both = self._builder.and_(a, b)
        return self._builder.or_(both, self._builder.and_(c, self._builder.or_(a, b)))


def _rounds(vectors: _Vectors, state: list[Any], words: list[Any]) -> list[Any]:
    """The state after one block."""
    words = list(words)
    a, b, c, d, e, f, g, h = state
    for number, constant in enumerate(_CONSTANTS):
        if number >= len(state) * 2:
            words.append(
                vectors.sum(
                    words[number - 16],
                    vectors.turned(words[number - 15], 7, 18, shift=3),
                    words[number - 7],
                    vectors.turned(words[number - 2], 17, 19, shift=10),
                )
            )
        first = vectors.sum(
            h,
            vectors.turned(e, 6, 11, 25),
            vectors.choose(e, f, g),
            vectors.of(constant),
            words[number],
        )
        second = vectors.sum(vectors.turned(a, 2, 13, 22), vectors.majority(a, b, c))
        a, b, c, d, e, f, g, h = (
            vectors.sum(first, second),
            a,
            b,
            c,
            vectors.sum(d, first),
            e,
            f,
            g,
        )
    after = (a, b, c, d, e, f, g, h)
    return [vectors.sum(old, new) for old, new in zip(state, after, strict=True)]


@intrinsic
def _compress(_typing: Any, state: Any, words: Any) -> Any:
    """Advance sixteen states (8, 16) by a block of words (16, 16) each, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def places(array: int, count: int) -> list[Any]:
            make = context.make_array(signature.args[array])
            data = make(context, builder, args[array]).data
            steps = [ir.Constant(ir.IntType(64), LANES * row) for row in range(count)]
            return [
                builder.bitcast(builder.gep(data, [step]), _VECTOR.as_pointer()) for step in steps
            ]

        into = places(0, 8)
        before = [builder.load(place, align=4) for place in into]
        block = [builder.load(place, align=4) for place in places(1, 16)]
        for place, word in zip(into, _rounds(_Vectors(builder), before, block), strict=True):
            builder.store(word, place, align=4)
        return context.get_dummy_value()

    return types.void(state, words), emit


@kernel()
def _digest_words(start: Words, blocks: Words) -> Words:
    """(N, 8) states from (8,) and the blocks' words (N, B, 16), whose bytes are swapped here."""
    rows, count = blocks.shape[0], blocks.shape[1]
    out = np.empty((rows, 8), np.uint32)
    state, words = np.empty((8, LANES), np.uint32), np.zeros((16, LANES), np.uint32)
    for row in range(0, rows, LANES):
        used = min(LANES, rows - row)
        for part in range(8):
            for lane in range(LANES):
                state[part, lane] = start[part]
        for block in range(count):
            for lane in range(used):
                for at in range(16):
                    words[at, lane] = _swapped(blocks[row + lane, block, at])
            _compress(state, words)  # type: ignore[call-arg]
        for lane in range(used):
            for part in range(8):
                out[row + lane, part] = _swapped(state[part, lane])
    return out


@kernel()
def _swapped(word: Any) -> Any:
    """A word of 32 bits with its bytes in reverse order."""
    wide = np.uint64(word)
    inner = ((wide & np.uint64(0xFF00)) << np.uint64(8)) | (
        (wide >> np.uint64(8)) & np.uint64(0xFF00)
    )
    return np.uint32((wide << np.uint64(24)) | inner | (wide >> np.uint64(24)))


def sha256_of_rows(prefix: bytes, rows: Octets) -> Octets:
    """(N, 32): the SHA-256 of ``prefix`` followed by each row of bytes (N, L)."""
    count, width = rows.shape
    whole = len(prefix) // BLOCK * BLOCK
    rest = np.frombuffer(prefix[whole:], np.uint8)
    length = rest.size + width
    # A message ends with a bit, zeros up to a whole block, and its length in bits.
    size = -(-(length + 9) // BLOCK) * BLOCK
    blocks = np.zeros((count, size), np.uint8)
    blocks[:, : rest.size] = rest
    blocks[:, rest.size : length] = rows
    blocks[:, length] = 0x80
    bits = np.array([8 * (whole + length)], ">u8").view(np.uint8)
    blocks[:, size - 8 :] = bits
    start = _START
    if whole:
        before = np.frombuffer(prefix[:whole], "<u4").reshape(1, -1, 16)
        start = _digest_words(start, before)[0].byteswap()
    words = blocks.view("<u4").reshape(count, size // BLOCK, BLOCK // 4)
    digests: Octets = _digest_words(start, words).view(np.uint8).reshape(count, DIGEST)
    return digests


def check() -> None:
    """Compile, and compare one digest with ``hashlib``.

    Raises:
        RuntimeError: they differ.
    """
    row = np.arange(64, dtype=np.uint8)
    found = sha256_of_rows(b"ga", row[None])[0].tobytes()
    if found != hashlib.sha256(b"ga" + row.tobytes()).digest():
        raise RuntimeError("the compiled SHA-256 does not work on this processor")
