"""Vectorised conditions: compiles a rule's comparisons to masks of 64 bars.

``masks`` turns a function over single values into a loop over vectors of eight: the function is
called while the loop is compiled, with placeholder values whose operators emit vector operations.
Each operation is rounded separately, so the bits are the same on every processor.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ga.backtest.simd.vectors import LANES

BARS: Final = 64
"""Bars of a mask."""
CONDITIONS: Final = 4
"""Masks per word; a rule with fewer leaves the others empty."""

_DOUBLE: Final = ir.DoubleType()
_VECTOR: Final = ir.VectorType(_DOUBLE, LANES)
_WORD: Final = ir.IntType(64)
_INDEX: Final = ir.IntType(32)


class _Value:
    """Eight values or eight booleans while a loop is compiled."""

    def __init__(self, builder: Any, value: Any) -> None:
        self._builder, self.value = builder, value

    def _of(self, other: _Value | float) -> Any:
        if isinstance(other, _Value):
            return other.value
        return ir.Constant(_VECTOR, [float(other)] * LANES)

    def _make(self, value: Any) -> _Value:
        return _Value(self._builder, value)

    def __add__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fadd(self.value, self._of(other)))

    def __sub__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fsub(self.value, self._of(other)))

    def __mul__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fmul(self.value, self._of(other)))

    def __rmul__(self, other: float) -> _Value:
        return self._make(self._builder.fmul(self._of(other), self.value))

    def __neg__(self) -> _Value:
        return self._make(self._builder.fneg(self.value))

    def __gt__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fcmp_ordered(">", self.value, self._of(other)))

    def __lt__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fcmp_ordered("<", self.value, self._of(other)))

    def __ge__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fcmp_ordered(">=", self.value, self._of(other)))

    def __le__(self, other: _Value | float) -> _Value:
        return self._make(self._builder.fcmp_ordered("<=", self.value, self._of(other)))

    def __and__(self, other: _Value) -> _Value:
        return self._make(self._builder.and_(self.value, other.value))

    def __or__(self, other: _Value) -> _Value:
        return self._make(self._builder.or_(self.value, other.value))

    def __invert__(self) -> _Value:
        return self._make(self._builder.not_(self.value))


Rule = Callable[..., tuple[_Value, ...]]


class _Loop:
    """Emits the loop of one rule."""

    def __init__(self, rule: Rule, context: Any, builder: Any, given: Any, args: Any) -> None:
        self._rule, self._builder = rule, builder
        *inputs, words, _ = zip(given, args, strict=True)

        def data(kind: Any, value: Any) -> Any:
            return context.make_array(kind)(context, builder, value).data

        # An array's address, or a scalar in all lanes.
        self._inputs = [
            (data(*one), None) if isinstance(one[0], types.Array) else (None, self._spread(one[1]))
            for one in inputs
        ]
        self._words = data(*words)

    def write(self, bars: Any) -> None:
        """Emit the masks of all bars; bits of missing bars in the last word are 0."""
        builder = self._builder
        whole = builder.lshr(bars, ir.Constant(_WORD, 6))
        with cgutils.for_range(builder, whole) as loop:
            self._word(loop.index, None)
        left = builder.and_(bars, ir.Constant(_WORD, BARS - 1))
        with builder.if_then(builder.icmp_unsigned("!=", left, ir.Constant(_WORD, 0))):
            self._word(whole, left)

    def _word(self, number: Any, left: Any) -> None:
        """Emit the masks of one word with ``left`` existing bars; None: all exist."""
        builder = self._builder
        start = builder.shl(number, ir.Constant(_WORD, 6))
        groups = []
        for lane in range(0, BARS, LANES):
            valid = None if left is None else self._valid(lane, left)
            at = builder.add(start, ir.Constant(_WORD, lane))
            found = self._rule(*(self._load(one, at, valid) for one in self._inputs))
            truths = [truth.value for truth in found]
            if valid is not None:
                truths = [builder.and_(truth, valid) for truth in truths]
            groups.append(truths)
        place = builder.shl(number, ir.Constant(_WORD, 2))
        for which in range(CONDITIONS):
            mask = ir.Constant(_WORD, 0)
            if which < len(groups[0]):
                mask = builder.bitcast(self._joined([one[which] for one in groups]), _WORD)
            at = builder.add(place, ir.Constant(_WORD, which))
            builder.store(mask, builder.gep(self._words, [at]))

    def _load(self, one: tuple[Any, Any], at: Any, valid: Any) -> _Value:
        address, value = one
        if address is None:
            return _Value(self._builder, value)
        pointer = self._builder.bitcast(self._builder.gep(address, [at]), _VECTOR.as_pointer())
        if valid is None:
            return _Value(self._builder, self._builder.load(pointer, align=8))
        kind = ir.FunctionType(_VECTOR, [pointer.type, _INDEX, valid.type, _VECTOR])
        name = "llvm.masked.load.v8f64.p0v8f64"
        masked = cgutils.get_or_insert_function(self._builder.module, kind, name)
        nothing = ir.Constant(_VECTOR, [0.0] * LANES)
        align = ir.Constant(_INDEX, 8)
        return _Value(self._builder, self._builder.call(masked, [pointer, align, valid, nothing]))

    def _valid(self, lane: int, left: Any) -> Any:
        """Which of eight bars from ``lane`` on exist."""
        lanes = ir.VectorType(_WORD, LANES)
        numbers = ir.Constant(lanes, [lane + one for one in range(LANES)])
        return self._builder.icmp_unsigned("<", numbers, self._spread(left, lanes))

    def _spread(self, value: Any, kind: Any = _VECTOR) -> Any:
        zero = ir.Constant(_INDEX, 0)
        one = self._builder.insert_element(ir.Constant(kind, ir.Undefined), value, zero)
        order = ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES)
        return self._builder.shuffle_vector(one, one, order)

    def _joined(self, truths: Sequence[Any]) -> Any:
        """Boolean vectors, concatenated."""
        while len(truths) > 1:
            size = truths[0].type.count * 2
            order = ir.Constant(ir.VectorType(_INDEX, size), list(range(size)))
            truths = [
                self._builder.shuffle_vector(first, second, order)
                for first, second in zip(truths[::2], truths[1::2], strict=True)
            ]
        return truths[0]


def masks(rule: Rule) -> Any:
    """Make a rule into a kernel: ``(*values of the rule, words (W, 4) uint64, bars)``.

    Each argument of the rule is an array (bars,) or a number. The rule returns up to four booleans,
    using the operators ``+ - * > < >= <= & | ~``. Bit b of words[w, c] becomes boolean c of bar 64
    w + b.
    """
    names = [*inspect.signature(rule).parameters, "words", "bars"]

    def typed(_context: Any, *given: Any) -> Any:
        for name, kind in zip(names, given, strict=True):
            if isinstance(kind, types.Array):
                if kind.layout != "C":
                    raise TypingError(f"{rule.__module__}: {name} must be contiguous")
            elif name != "bars" and kind != types.float64:
                raise TypingError(f"{rule.__module__}: {name} must be a float64, not {kind}")

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _Loop(rule, context, builder, signature.args, args).write(args[-1])
            return context.get_dummy_value()

        return types.void(*given[:-1], types.int64), codegen

    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD
    typed.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, kinds) for name in ("_context", *names)]
    )
    typed.__name__ = rule.__name__
    return intrinsic(typed)
