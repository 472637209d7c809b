"""The innermost steps of an account as explicit operations on vectors of eight.

Numba vectorises plain loops only where it can prove that this is safe, with half the width of the
processor, and not minima and maxima. LLVM lowers these operations to the vectors of the processor.
Each operation is rounded separately, so the bits are the same everywhere.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES: Final = 8
"""Values of a vector; ``hold_eight`` may read this many values behind its range, and overwrite
them.
"""
BLOCK: Final = 64
"""Bars per block."""
CHAINS: Final = BLOCK // 4

_DOUBLE: Final = ir.DoubleType()
_VECTOR: Final = ir.VectorType(_DOUBLE, LANES)
_ORDER: Final = ir.VectorType(ir.IntType(32), LANES)
_ZERO: Final = ir.Constant(ir.IntType(32), 0)


class Lines:
    """Emits the vector operations of one intrinsic."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self._context, self._signature, self._args = context, signature, args
        self.builder = builder

    def place(self, array: int, index: Any, offset: int = 0) -> Any:
        """Pointer to eight values of the argument ``array`` from index + offset on."""
        make = self._context.make_array(self._signature.args[array])
        data = make(self._context, self.builder, self._args[array]).data
        at = self.builder.add(index, ir.Constant(index.type, offset))
        return self.builder.bitcast(self.builder.gep(data, [at]), _VECTOR.as_pointer())

    def load(self, array: int, index: Any, offset: int = 0) -> Any:
        """Load eight values from an unaligned address."""
        return self.builder.load(self.place(array, index, offset), align=8)

    def spread(self, value: Any) -> Any:
        """Eight times the same value."""
        one = self.builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, _ZERO)
        return self.builder.shuffle_vector(one, one, ir.Constant(_ORDER, [0] * LANES))

    def most(self, first: Any, second: Any, comparison: str) -> Any:
        """The larger (">") or smaller ("<") of both, lane by lane."""
        holds = self.builder.fcmp_ordered(comparison, first, second)
        return self.builder.select(holds, first, second)

    def later(self, vector: Any, before: Any, step: int, *, repeat: bool = False) -> Any:
        """Shift lanes by ``step``; the first lanes take values of ``before``, or with ``repeat``
        keep theirs.
        """
        first = list(range(step)) if repeat else [LANES] * step
        order = ir.Constant(_ORDER, [*first, *range(LANES - step)])
        return self.builder.shuffle_vector(vector, before, order)

    def across(self, vector: Any, comparison: str) -> Any:
        """The largest or smallest lane."""
        for half in (4, 2, 1):
            order = ir.Constant(_ORDER, [(lane + half) % LANES for lane in range(LANES)])
            vector = self.most(
                vector, self.builder.shuffle_vector(vector, vector, order), comparison
            )
        return self.builder.extract_element(vector, _ZERO)


def _hold_eight(_typing, row, k, adjusted, t, cash, units):
    """row[k : k + 8] = cash + units * adjusted[t : t + 8]."""

    def codegen(context, builder, signature, args):
        lines = Lines(context, builder, signature, args)
        value = builder.fmul(lines.spread(args[5]), lines.load(2, args[3]))
        builder.store(builder.fadd(lines.spread(args[4]), value), lines.place(0, args[1]), align=8)
        return context.get_dummy_value()

    return types.void(row, k, adjusted, t, cash, units), codegen


def _extremes(_typing, row, k):
    """Smallest and largest of row[k : k + 64]."""

    def codegen(context, builder, signature, args):
        lines = Lines(context, builder, signature, args)
        vectors = [lines.load(0, args[1], at) for at in range(0, BLOCK, LANES)]
        found = []
        for comparison in "<>":
            most = vectors[0]
            for vector in vectors[1:]:
                most = lines.most(vector, most, comparison)
            found.append(lines.across(most, comparison))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.float64, 2)(row, k), codegen


def _add_returns(_typing, row, k, totals, squares):
    """Add the 64 returns from row[k] to row[k + 64], and their squares, to 16 chains each.

    Eight returns share one division (Montgomery's trick), because it takes longer than all other
    steps.
    """

    def codegen(context, builder, signature, args):
        lines = Lines(context, builder, signature, args)
        times, plus, minus = builder.fmul, builder.fadd, builder.fsub
        halves = []
        for lane in range(0, CHAINS, LANES):
            places = [lane + quarter * CHAINS for quarter in range(4)]
            before = [lines.load(0, args[1], at) for at in places]
            now = [lines.load(0, args[1], at + 1) for at in places]
            ab, cd = times(before[0], before[1]), times(before[2], before[3])
            halves.append((lane, before, now, ab, cd, times(ab, cd)))
        product = times(halves[0][-1], halves[1][-1])
        inverse = builder.fdiv(lines.spread(ir.Constant(_DOUBLE, 1.0)), product)
        for (lane, before, now, ab, cd, _), other in zip(halves, reversed(halves), strict=True):
            of_abcd = times(other[-1], inverse)
            of_ab, of_cd = times(cd, of_abcd), times(ab, of_abcd)
            a, b, c, d = before
            inverses = (times(b, of_ab), times(a, of_ab), times(d, of_cd), times(c, of_cd))
            returns = [
                times(minus(later, earlier), over)
                for later, earlier, over in zip(now, before, inverses, strict=True)
            ]
            for chains, (p, q, r, s) in (
                (2, returns),
                (3, [times(value, value) for value in returns]),
            ):
                index = ir.Constant(args[1].type, lane)
                added = plus(lines.load(chains, index), plus(plus(p, q), plus(r, s)))
                builder.store(added, lines.place(chains, index), align=8)
        return context.get_dummy_value()

    return types.void(row, k, totals, squares), codegen


hold_eight: Any = intrinsic(_hold_eight)
extremes: Any = intrinsic(_extremes)
add_returns: Any = intrinsic(_add_returns)
