"""The wait helper of the tests says what did not come about, and never when it did."""

from __future__ import annotations

import math

import pytest

from tests.support.waiting import NotInTimeError, wait_at_most, wait_until


def test_wait_returns_the_first_true_value() -> None:
    answers = iter([None, 0, "there"])
    assert wait_until(lambda: next(answers), seconds=60, what="an answer", every=0.0) == "there"


def test_zero_seconds_check_once() -> None:
    assert wait_until(lambda: 7, seconds=0, what="seven") == 7
    with pytest.raises(NotInTimeError, match=r"within 0 s: a train"):
        wait_until(lambda: None, seconds=0, what="a train")


def test_description_is_computed_at_the_end() -> None:
    looks: list[int] = []
    with pytest.raises(NotInTimeError, match=r": 1 looks"):
        wait_until(lambda: looks.append(1), seconds=0, what=lambda: f"{len(looks)} looks")


def test_unless_ends_the_wait() -> None:
    with pytest.raises(NotInTimeError, match=r": its end"):
        wait_until(lambda: False, seconds=math.inf, what="its end", unless=lambda: True)


def test_wait_at_most_does_not_raise() -> None:
    assert wait_at_most(lambda: None, seconds=0) is None
    assert wait_at_most(lambda: 3, seconds=0) == 3
