"""Checks of single JSON values against the annotations of a dataclass.

Annotations are resolved once: a record of two days has a few hundred thousand lines.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from validation.evidence.errors import EvidenceError

Facts: TypeAlias = Mapping[str, object]
"""A JSON object of observations, for example ``{"pid": 12, "reachable": true}``."""
Check: TypeAlias = Callable[[str, object], object]
"""Takes the field's name and a value; returns the value to keep or raises ``EvidenceError``."""

_SIGNED: Final = frozenset({"seed", "exit_code", "pair"})


def checks_of(cls: type) -> Mapping[str, Check]:
    """The check of every field of a dataclass, by name."""
    hints = get_type_hints(cls)
    return {f.name: _check(hints[f.name], f.name) for f in dataclasses.fields(cls)}


def _check(hint: object, name: str) -> Check:
    """The function that accepts values of one annotation: built once a field, called a lot."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        inner = next(arg for arg in get_args(hint) if arg is not type(None))
        some = _check(inner, name)
        return lambda key, value: None if value is None else some(key, value)
    if origin is Literal:
        return _choice(get_args(hint))
    if origin is tuple:
        return _amounts if get_args(hint)[0] is float else _texts
    if hint is int:
        return _integer if name in _SIGNED else _count
    if hint is float:
        return _amount
    if hint is bool:
        return _flag
    if hint is str:
        return _text
    return _facts


def _wrong(key: str, value: object, wanted: str) -> EvidenceError:
    return EvidenceError(f"{key} must be {wanted}, not {value!r}")


def _choice(options: tuple[object, ...]) -> Check:
    def check(key: str, value: object) -> object:
        if value not in options:
            raise _wrong(key, value, "one of " + ", ".join(map(repr, options)))
        return value

    return check


def _texts(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise _wrong(key, value, "a list of text")
    return tuple(value)


def _amounts(key: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong(key, value, "a list of numbers")
    return tuple(_amount(f"{key}[{index}]", item) for index, item in enumerate(value))


def _integer(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(key, value, "a whole number")
    return value


def _count(key: str, value: object) -> int:
    number = _integer(key, value)
    if number < 0:
        raise _wrong(key, value, "a whole number of at least 0")
    return number


def _amount(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(key, value, "a number")
    if not math.isfinite(value) or value < 0:
        raise _wrong(key, value, "a finite number of at least 0")
    return float(value)


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, "true or false")
    return value


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(key, value, "text")
    return value


def _facts(key: str, value: object) -> Facts:
    if not isinstance(value, Mapping):
        raise _wrong(key, value, "an object of observations")
    for name, fact in value.items():
        _json(f"{key}.{name}", fact)
    return dict(value)


def _json(key: str, value: object) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(key, value, "finite")
    if isinstance(value, Mapping):
        for name, fact in value.items():
            if not isinstance(name, str):
                raise _wrong(key, name, "keyed by text")
            _json(f"{key}.{name}", fact)
    elif isinstance(value, list | tuple):
        for index, fact in enumerate(value):
            _json(f"{key}[{index}]", fact)
    elif value is not None and not isinstance(value, str | int | float):
        raise _wrong(key, value, "a JSON value")


def fact(key: str, value: object) -> str | int | float:
    """Accept one value of the environment: text or a finite number."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        _json(key, value)
        return value
    raise EvidenceError(f"environment: {_wrong(key, value, 'text or a number')}")
