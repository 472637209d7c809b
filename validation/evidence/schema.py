"""The types that a field of a record may have, and their check by pydantic.

Values are never converted: 1 is not true, true is not 1, and "1" is not a number. The exceptions:
an integer is accepted as a float, and a list as a tuple, since JSON has no tuples.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    AllowInfNan,
    Strict,
    StrictBool,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from typing_extensions import TypeAliasType, TypedDict

from validation.evidence.base import Record
from validation.evidence.errors import EvidenceError

Facts: TypeAlias = Mapping[str, object]
"""A JSON object of observations, for example ``{"pid": 12, "reachable": true}``."""

_Number: TypeAlias = Annotated[float, Strict(), AllowInfNan(False)]
_Json = TypeAliasType(
    "_Json",
    "StrictStr | StrictInt | StrictBool | _Number | list[_Json] | dict[StrictStr, _Json] | None",
)
_SCALARS: Final[Mapping[object, Any]] = {
    str: StrictStr,
    int: StrictInt,
    bool: StrictBool,
    float: _Number,
    None: None,
    type(None): None,
    object: _Json,
    Any: _Json,
}
_CONTAINERS: Final[Mapping[object, Any]] = {
    list: list[object],
    tuple: tuple[object, ...],
    dict: dict[str, object],
    Mapping: Mapping[str, object],
    Sequence: Sequence[object],
}
"""Container types, and each without the type of its items."""
_ALLOWED: Final = (
    "str, int, float, bool, None, object, Literal of text, list, tuple, dict with keys of text, or"
    " a union of these"
)
_INPUT: Final = "Input should be "


class Schema:
    """The fields of one kind of record.

    Args:
        cls: The record.

    Raises:
        EvidenceError: a field has a type that JSON cannot hold.
    """

    def __init__(self, cls: type[Record]) -> None:
        self._record: Final = cls
        try:
            hints = get_type_hints(cls, include_extras=True)
        except NameError as error:
            raise EvidenceError(f"{cls.KIND}: {error}; types must be known at run time") from None
        names = [field.name for field in dataclasses.fields(cls)]
        self._names: Final = frozenset(names)
        self._later: Final = frozenset(
            field.name for field in dataclasses.fields(cls) if field.default is None
        )
        """Fields that evidence may lack, because it was written before they existed."""
        # mypy knows a TypedDict only where its keys are written out.
        payload: Any = TypedDict
        self._payload: Final[TypeAdapter[dict[str, Any]]] = TypeAdapter(
            payload(cls.KIND, {name: self._strict(hints[name], name) for name in names})
        )

    def read(self, data: Mapping[str, object]) -> Record:
        """The record of a payload.

        Raises:
            EvidenceError: a field is missing, unknown, or not what its type says.
        """
        kind = self._record.KIND
        if data.keys() != self._names:
            missing = self._names - data.keys()
            # Required even where the class has another default: only None means "not known".
            if required := sorted(missing - self._later):
                raise EvidenceError(f"{kind}: missing {', '.join(required)}")
            if unknown := sorted(data.keys() - self._names):
                raise EvidenceError(f"{kind}: unknown field {', '.join(unknown)}")
            data = {**data, **dict.fromkeys(missing)}
        try:
            return self._record(**self._payload.validate_python(data))
        except ValidationError as error:
            raise EvidenceError(f"{kind}: {_reason(error, data)}") from None

    def _strict(self, hint: Any, name: str) -> Any:
        """The type in the form in which pydantic converts nothing."""
        if hasattr(hint, "__value__"):
            # Defined by a ``type`` statement.
            return self._strict(hint.__value__, name)
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return Annotated[(self._strict(inner[0], name), *inner[1:])]
        if origin in (Union, types.UnionType):
            return Union[tuple(self._strict(one, name) for one in inner)]  # noqa: UP007
        # For pydantic, true equals the literal 1.
        if origin is Literal and all(isinstance(one, str | None) for one in inner):
            return hint
        if origin is None and hint in _SCALARS:
            return _SCALARS[hint]
        container = hint if origin is None else origin
        if container in _CONTAINERS and not inner:
            return self._strict(_CONTAINERS[container], name)
        # Keys are strings.
        if container in _CONTAINERS and (inner[0] is str or container not in (dict, Mapping)):
            items = tuple(one if one is ... else self._strict(one, name) for one in inner)
            return container[items]
        shown = hint.__name__ if isinstance(hint, type) else hint
        raise EvidenceError(
            f"{self._record.KIND}: {name} cannot be {shown}; a field may be {_ALLOWED}"
        )


def _reason(error: ValidationError, data: Mapping[str, object]) -> str:
    """Describe the error of one field in one line."""
    found = [(_place(e["loc"], data), e) for e in error.errors(include_url=False)]
    place = max((place for place, _ in found), key=len)
    there = [e for one, e in found if one == place]
    # Of a union, drop the errors of members of another type if one member has the right type.
    telling = [e for e in there if not e["type"].endswith("_type")] or there
    wanted = " or ".join(dict.fromkeys(e["msg"].removeprefix(_INPUT) for e in telling))
    path = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place)
    verb = " must be" if telling[0]["msg"].startswith(_INPUT) else ":"
    return f"{path.removeprefix('.')}{verb} {wanted}, not {telling[0]['input']!r}"


def _place(names: Sequence[int | str], data: Any) -> tuple[int | str, ...]:
    """The keys and indices of a value in the payload, without the type names that pydantic
    inserts.
    """
    found: list[int | str] = []
    for name in names:
        if isinstance(data, Mapping):
            inside = name in data
        else:
            inside = isinstance(data, list | tuple) and name in range(len(data))
        if inside:
            data = data[name]
            found.append(name)
    return tuple(found)
