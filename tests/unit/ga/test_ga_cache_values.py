"""Values and URLs of the result cache, without a server."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.result_cache import (
    decode,
    encode,
    open_cache,
    parse_url,
)

KEY = "ab" * 32
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
    found = decode(outcome.key, encode(outcome))
    assert found is not None
    assert bits(found) == bits(outcome)
    assert found.error is None


@given(outcome=outcomes, at=st.integers(0, 255))
def test_flipped_bit_is_a_miss(outcome: Outcome, at: int) -> None:
    value = bytearray(encode(outcome))
    value[at // 8] ^= 1 << at % 8
    assert decode(outcome.key, bytes(value)) is None


@given(outcome=outcomes, junk=st.one_of(st.binary(max_size=80), st.text(), st.none()))
def test_foreign_value_is_a_miss(outcome: Outcome, junk: object) -> None:
    value = encode(outcome)
    assert decode(outcome.key, junk) is None
    assert decode("cd" * 32, value) is None
    assert decode(outcome.key, value[:-1]) is None
    assert decode(outcome.key, value + b"\0") is None


@pytest.mark.parametrize("fitness", [math.nan, math.inf])
def test_non_finite_fitness_is_a_miss(fitness: float) -> None:
    assert decode(KEY, encode(Outcome(key=KEY, fitness=fitness))) is None


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
