"""What a field of a record may hold: by its type alone, for our records and for somebody's own."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from validation.evidence.base import Record
from validation.evidence.errors import EvidenceError
from validation.evidence.log import EvidenceWriter, read_evidence
from validation.evidence.records import RECORDS, Environment, parse, register, unregister

NAN, INF = float("nan"), float("inf")
SIGNED = {"mean", "last", "expected_mean", "seed", "exit_code", "pair"}
"""Fields of our records that hold a number which may be negative."""
BUILT_IN = {
    kind: cls
    for kind, cls in RECORDS.items()
    if cls.__module__.startswith("validation.") and cls is not Environment
}
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 3, -1, 10**25, -(10**25), 0.0, 2.5, -0.5, NAN, INF, -INF, "", "text", "1",
    [], ["a"], ["a", 1], [True], [1, 2.5], [1.5, -2.0], [1.5, NAN], [[]],
    {}, {"a": None}, {"a": [True, {"b": -1.5}]}, {"a": INF}, {"a": [{"b": NAN}]},
)  # fmt: skip


def finite(value: object) -> bool:
    """Whether all numbers in a JSON value are."""
    return not re.search("NaN|Infinity", json.dumps(value))


def is_number(value: object) -> bool:
    """A finite number of at least 0."""
    return type(value) in (int, float) and finite(value) and value >= 0


def accepts(name: str, spelling: str, value: Any) -> bool:
    """Whether a field of ours takes a JSON value, in words that owe nothing to ``fields``."""
    plain = spelling.replace("NonNegativeInt", "int").replace("NonNegativeFloat", "float")
    if plain.endswith(" | None"):
        return value is None or accepts(name, plain.removesuffix(" | None"), value)
    if plain == "int":
        return type(value) is int and (value >= 0 or name in SIGNED)
    if plain == "float" and name in SIGNED:
        return type(value) in (int, float) and finite(value)
    if plain in ("float", "str", "bool"):
        return is_number(value) if plain == "float" else type(value).__name__ == plain
    if plain.startswith("tuple["):
        right = {
            "tuple[str, ...]": lambda v: isinstance(v, str),
            "tuple[float, ...]": is_number,
            "tuple[int, ...]": lambda v: type(v) is int and v >= 0,
        }
        return isinstance(value, list) and all(map(right[plain], value))
    if plain == "Counts":
        return isinstance(value, dict) and all(type(v) is int and v >= 0 for v in value.values())
    if plain == "Facts":
        return isinstance(value, dict) and finite(value)
    # One of a few words, of which none is among the values.
    assert plain in ("Arm", "Purpose", "Via", "Reach", "Access", "GuardWord")
    return False


def example(spelling: str) -> object:
    """A value that a field takes."""
    return {
        "str": "x", "str | None": "x", "bool": True, "Facts": {"a": 1}, "tuple[str, ...]": ["x"],
        "tuple[NonNegativeInt, ...] | None": [1], "tuple[NonNegativeInt, ...]": [1],
        "Arm": "local", "Purpose": "speedup",
        "Reach": "stack", "Access": "open", "GuardWord": "undone",
        "tuple[str, ...] | None": ["x"], "Counts": {"a": 1},
    }.get(spelling, [0.5] if spelling.startswith("tuple") else 1)  # fmt: skip


def payload(cls: type[Record]) -> dict[str, object]:
    """One that a record of ours takes."""
    found = {field.name: example(str(field.type)) for field in dataclasses.fields(cls)}
    via = {"panel": "grafana", "round_trips": "tcp"}.get(cls.KIND)
    return {**found, "via": via} if via else found


@pytest.mark.parametrize("kind", BUILT_IN)
def test_field_accepts_exactly_its_type(kind: str) -> None:
    good = payload(BUILT_IN[kind])
    for field in dataclasses.fields(BUILT_IN[kind]):
        for value in VALUES:
            data = good | {field.name: value}
            if accepts(field.name, str(field.type), value):
                found = getattr(parse(kind, data), field.name)
                seen = list(found) if isinstance(found, tuple) else found
                assert seen == (float(value) if isinstance(found, float) else value)
            else:
                with pytest.raises(EvidenceError, match=rf"^{kind}: {field.name}\b"):
                    parse(kind, data)


@pytest.mark.parametrize("kind", BUILT_IN)
def test_missing_or_unknown_field_is_refused(kind: str) -> None:
    good = payload(BUILT_IN[kind])
    later = {f.name for f in dataclasses.fields(BUILT_IN[kind]) if f.default is None}
    for name in good:
        rest = {key: value for key, value in good.items() if key != name}
        if name in later:
            assert getattr(parse(kind, rest), name) is None
            continue
        with pytest.raises(EvidenceError, match=f"^{kind}: missing {name}$"):
            parse(kind, rest)
    with pytest.raises(EvidenceError, match=f"^{kind}: unknown field other$"):
        parse(kind, {**good, "other": 1})


@pytest.mark.parametrize("value", [None, True, NAN, [], {}])
def test_environment_is_text_and_finite_numbers(value: object) -> None:
    held = {"cores": 4, "load": 0.5, "below": -1, "system": "Linux"}
    found = parse("environment", held)
    assert isinstance(found, Environment)
    assert [*map(repr, found.values.values())] == [*map(repr, held.values())]
    with pytest.raises(EvidenceError, match=r"^environment: values\.load must be "):
        parse("environment", {**held, "load": value})


@dataclass(frozen=True, kw_only=True)
class Own(Record):
    """A record of somebody's own, with every type that is allowed."""

    KIND = "of_somebody_s_own"
    delta: int = -1
    steps: tuple[int, ...]
    pair: tuple[int, str]
    names: list[str]
    either: int | str
    maybe: str | None = None
    rates: dict[str, float]
    nested: Mapping[str, list[dict[str, int]]]
    word: Literal["up", "down"]
    share: Annotated[float, Field(ge=0, le=1)]
    anything: object = None
    plain: dict


GOOD: Mapping[str, Any] = {
    "delta": -5, "steps": [1, -2], "pair": [1, "x"], "names": ["a"], "either": "b", "maybe": None,
    "rates": {"a": -1.5, "b": 2}, "nested": {"a": [{"b": -1}]}, "word": "up", "share": 0.5,
    "anything": [None, {"a": True}], "plain": {"a": [1]},
}  # fmt: skip
READ = Own(**{**GOOD, "steps": (1, -2), "pair": (1, "x")})


@pytest.fixture(scope="module")
def own() -> Iterator[None]:
    """It can be written and read."""
    register(Own)
    yield
    unregister(Own)


@pytest.mark.usefixtures("own")
def test_custom_record_is_written_and_read(tmp_path: Path) -> None:
    opening = {"run": "r", "seed": -1, "backend": "processes", "nodes": 1, "replay": ""}
    with EvidenceWriter(tmp_path / "e.jsonl", cpus_per_node=1.0, **opening) as writer:
        writer.add(READ)
        writer.add(dataclasses.replace(READ, delta=7))
    first, second = read_evidence(tmp_path / "e.jsonl").all(Own)
    assert (first, second.delta) == (READ, 7)
    assert type(first.rates["b"]) is float


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("delta", True, "must be a valid integer, not True"),
        ("delta", 1.0, "must be a valid integer, not 1.0"),
        ("delta", "1", "must be a valid integer, not '1'"),
        ("steps", [1, True], "[1] must be a valid integer, not True"),
        ("steps", "12", "must be a valid tuple, not '12'"),
        ("pair", ["x", 1], "[0] must be a valid integer, not 'x'"),
        ("pair", [1], ": Field required, not [1]"),
        ("names", ["a", None], "[1] must be a valid string, not None"),
        ("names", "a", "must be a valid list, not 'a'"),
        ("either", 1.5, "must be a valid integer or a valid string, not 1.5"),
        ("either", True, "must be a valid integer or a valid string, not True"),
        ("either", None, "must be a valid integer or a valid string, not None"),
        ("maybe", 1, "must be a valid string, not 1"),
        ("rates", {"a": NAN}, ".a must be a finite number, not nan"),
        ("rates", {"a": -INF}, ".a must be a finite number, not -inf"),
        ("rates", {"a": True}, ".a must be a valid number, not True"),
        ("rates", {"a": None}, ".a must be a valid number, not None"),
        ("rates", [], "must be a valid dictionary, not []"),
        ("nested", {"a": [{"b": 0.5}]}, ".a[0].b must be a valid integer, not 0.5"),
        ("word", "left", "must be 'up' or 'down', not 'left'"),
        ("word", True, "must be 'up' or 'down', not True"),
        ("share", 1.5, "must be less than or equal to 1, not 1.5"),
        ("share", NAN, "must be a finite number, not nan"),
        ("anything", {"a": [INF]}, ".a[0] must be a finite number, not inf"),
        ("plain", {"a": {"b": NAN}}, ".a.b must be a finite number, not nan"),
    ],
)
def test_wrong_value_is_refused_with_its_place(name: str, value: object, reason: str) -> None:
    with pytest.raises(EvidenceError) as refused:
        parse(Own.KIND, {**GOOD, name: value})
    space = "" if reason[0] in ".[:" else " "
    assert str(refused.value) == f"{Own.KIND}: {name}{space}{reason}"


@pytest.mark.usefixtures("own")
def test_only_none_replaces_a_missing_field() -> None:
    with pytest.raises(EvidenceError, match=r"missing delta, word$"):
        parse(Own.KIND, {k: v for k, v in GOOD.items() if k not in ("delta", "anything", "word")})
    read = parse(Own.KIND, {k: v for k, v in GOOD.items() if k not in ("maybe", "anything")})
    assert (getattr(read, "maybe"), getattr(read, "anything")) == (None, None)  # noqa: B009


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.usefixtures("own")
@given(value=JSON)
def test_object_field_keeps_any_json_value(value: object) -> None:
    found = parse(Own.KIND, {**GOOD, "anything": value})
    assert isinstance(found, Own)
    assert repr(found.anything) == repr(value)


@pytest.mark.parametrize(
    "hint",
    [set[int], datetime.datetime, dict[int, str], bytes, list[set[int]], int | bytes, Literal[1]],
    ids=str,
)
def test_unsupported_type_is_refused_at_registration(hint: object) -> None:
    names = {"KIND": "odd", "__annotations__": {"seen": hint}}
    odd = dataclass(frozen=True, kw_only=True)(type("Odd", (Record,), names))
    with pytest.raises(EvidenceError, match=r"^odd: seen cannot be .*; a field may be str, int"):
        register(odd)
    assert "odd" not in RECORDS


def test_unresolved_type_is_refused() -> None:
    names = {"KIND": "odd", "__annotations__": {"seen": "Nowhere"}}
    odd = dataclass(frozen=True, kw_only=True)(type("Odd", (Record,), names))
    with pytest.raises(EvidenceError, match=r"^odd: .*Nowhere"):
        register(odd)


def test_deeply_nested_observations_are_refused_quickly() -> None:
    deep: object = INF
    for _ in range(100):
        deep = [deep]
    with pytest.raises(EvidenceError, match="finite"):
        parse("fault", payload(BUILT_IN["fault"]) | {"before": {"a": deep}})
