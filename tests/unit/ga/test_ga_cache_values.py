"""Values and URLs of the result cache, without a server."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.families import KERNEL_VERSION
from ga.result_cache import (
    decode,
    encode,
    maker,
    open_cache,
    parse_url,
    prefix_of,
)

KEY = "ab" * 32
MADE_BY = maker()
finite = st.floats(allow_nan=False, allow_infinity=False)
outcomes = st.builds(
    Outcome,
    key=st.binary(min_size=32, max_size=32).map(bytes.hex),
    fitness=finite,
    trades=st.integers(0, 2**40),
    max_drawdown=finite,
)


def bits(outcome: Outcome) -> bytes:
    """An outcome to the last bit; ``==`` takes 0.0 and -0.0 for equal."""
    numbers = struct.pack("<dqd", outcome.fitness, outcome.trades, outcome.max_drawdown)
    return outcome.key.encode() + numbers


@given(outcome=outcomes)
@example(outcome=Outcome(key=KEY, fitness=-0.0, trades=0, max_drawdown=5e-324))
def test_outcome_round_trip_is_bit_exact(outcome: Outcome) -> None:
    found = decode(outcome.key, encode(outcome, MADE_BY), MADE_BY)
    assert found is not None
    assert bits(found) == bits(outcome)
    assert found.error is None


@given(outcome=outcomes, at=st.integers(0, 255))
def test_flipped_bit_is_a_miss(outcome: Outcome, at: int) -> None:
    value = bytearray(encode(outcome, MADE_BY))
    value[at // 8] ^= 1 << at % 8
    assert decode(outcome.key, bytes(value), MADE_BY) is None


@given(outcome=outcomes, junk=st.one_of(st.binary(max_size=80), st.text(), st.none()))
def test_foreign_value_is_a_miss(outcome: Outcome, junk: object) -> None:
    value = encode(outcome, MADE_BY)
    assert decode(outcome.key, junk, MADE_BY) is None
    assert decode("cd" * 32, value, MADE_BY) is None
    assert decode(outcome.key, value[:-1], MADE_BY) is None
    assert decode(outcome.key, value + b"\0", MADE_BY) is None


@given(outcome=outcomes, other=outcomes)
def test_value_of_other_key_or_version_is_miss(outcome: Outcome, other: Outcome) -> None:
    value = encode(outcome, MADE_BY)
    if other.key != outcome.key:
        assert decode(other.key, value, MADE_BY) is None
    older = MADE_BY.replace(f":{KERNEL_VERSION}:", f":{KERNEL_VERSION - 1}:")
    assert older != MADE_BY
    assert decode(outcome.key, encode(outcome, older), MADE_BY) is None
    assert decode(outcome.key, value, MADE_BY) is not None


@pytest.mark.parametrize("namespace", ["a b", "a:b", "é", "n" * 65, "*"])
def test_bad_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(InputError, match="GA_CACHE_NAMESPACE: must be"):
        parse_url("redis://cache.example", namespace=namespace)


def test_namespaces_share_no_name() -> None:
    assert parse_url("redis://h", namespace="one.2-3_x").namespace == "one.2-3_x"
    assert prefix_of("") == MADE_BY
    assert len({prefix_of(""), prefix_of("a"), prefix_of("b")}) == 3


@pytest.mark.parametrize("fitness", [math.nan, math.inf])
def test_non_finite_fitness_is_a_miss(fitness: float) -> None:
    assert decode(KEY, encode(Outcome(key=KEY, fitness=fitness), MADE_BY), MADE_BY) is None


def test_urls_are_parsed() -> None:
    plain = parse_url("redis://cache.example")
    assert (plain.host, plain.port, plain.database) == ("cache.example", 6379, 0)
    assert (plain.username, plain.password, plain.tls) == (None, None, False)
    full = parse_url("rediss://ga:p%40ss%2Fw@[::1]:7000/3")
    assert (full.host, full.port, full.database) == ("::1", 7000, 3)
    assert (full.username, full.password, full.tls) == ("ga", "p@ss/w", True)
    assert "p@ss" not in repr(full)


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "localhost:6379",
        "http://:hunter2@localhost",
        "redis://:hunter2@",
        "redis://:hunter2@localhost:port/0",
        "redis://:hunter2@localhost:99999/0",
        "redis://:hunter2@localhost/zero",
        "redis://:hunter2@localhost/0/1",
        "redis://:hunter2@localhost/-1",
        "redis://:hunter2@localhost/0?decode_responses=1",
        "redis://:hunter2@[localhost/0",
    ],
)
def test_invalid_url_error_hides_the_url(url: str) -> None:
    with pytest.raises(InputError, match="--cache") as caught:
        parse_url(url)
    assert "hunter2" not in str(caught.value)
    assert "redis://" in str(caught.value)


def test_no_url_gives_no_cache() -> None:
    assert open_cache(None, warn=print) is None
    assert open_cache("", warn=print) is None
