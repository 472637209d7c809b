"""Operations on one value of a record: scale, cut, flip, replace, forget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Operation = Callable[[Any, str], Any]
"""Old value, and another text of the file, to the new value; ``UNCHANGED``: it does not apply."""
UNCHANGED: Final = object()


def shape(value: object) -> str:
    """The JSON type of a value; two fields of equal shape can be exchanged."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "object"
    if isinstance(value, Sequence):
        return "list"
    return "null"


def _number(change: Callable[[float], float], *, whole: bool = False) -> Operation:
    """Changes a number, each number of a list, and each number among the values of an object."""

    def operation(value: Any, text: str) -> Any:
        kind = shape(value)
        if kind == "number" and (isinstance(value, int) or not whole):
            changed = change(value)
            return int(changed) if isinstance(value, int) else changed
        return _inside(value, text, operation)

    return operation


def _flip(value: Any, text: str) -> Any:
    if shape(value) == "boolean":
        return not value
    return _inside(value, text, _flip)


def _another_text(value: Any, text: str) -> Any:
    if shape(value) == "text":
        return text
    return _inside(value, text, _another_text)


def _inside(value: Any, text: str, operation: Operation) -> Any:
    """The operation on every item of a list or object to which it applies."""
    kind = shape(value)
    if kind == "list":
        items = [operation(one, text) for one in value]
        if all(item is UNCHANGED for item in items):
            return UNCHANGED
        old = list(value)
        return tuple(o if item is UNCHANGED else item for o, item in zip(old, items, strict=True))
    if kind == "object":
        new = {name: operation(one, text) for name, one in value.items()}
        if all(item is UNCHANGED for item in new.values()):
            return UNCHANGED
        return {name: value[name] if item is UNCHANGED else item for name, item in new.items()}
    return UNCHANGED


def _part(keep: Callable[[int], int]) -> Operation:
    """Keeps the beginning of a text, a list or an object."""

    def operation(value: Any, _: str) -> Any:
        kind = shape(value)
        if kind not in ("text", "list", "object") or not len(value):
            return UNCHANGED
        count = keep(len(value))
        if kind == "object":
            return dict(list(value.items())[:count])
        return value[:count] if kind == "text" else tuple(value[:count])

    return operation


def _forget(value: Any, _: str) -> Any:
    return UNCHANGED if value is None else None


OPERATIONS: Final[Mapping[str, Operation]] = {
    "x1000": _number(lambda n: n * 1000),
    "/1000": _number(lambda n: n / 1000),
    "x1.5": _number(lambda n: n * 1.5),
    "zero": _number(lambda _: 0.0),
    "negate": _number(lambda n: -n),
    "+1": _number(lambda n: n + 1, whole=True),
    "flip": _flip,
    "another text": _another_text,
    "cut": _part(lambda count: count - 1),
    "half": _part(lambda count: count // 2),
    "empty": _part(lambda _: 0),
    "unknown": _forget,
}
"""By name. ``x1000`` and so on change numbers; ``cut``, ``half`` and ``empty`` texts, lists and
objects; ``unknown`` writes null."""
