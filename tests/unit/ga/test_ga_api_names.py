"""The names that ``import ga`` exports, and how errors name arguments."""

from __future__ import annotations

import pytest

import ga
import ga.api
from ga import errors
from ga.api.words import in_python


def test_package_exports_the_whole_api() -> None:
    assert ga.__all__ == ga.api.__all__
    assert set(ga.__all__) <= set(dir(ga))
    for name in ga.__all__:
        assert getattr(ga, name) is getattr(ga.api, name)
    with pytest.raises(AttributeError, match="module 'ga' has no attribute 'evolv'"):
        ga.evolv  # type: ignore[attr-defined]  # noqa: B018


def test_all_errors_have_one_base() -> None:
    named = [value for name, value in vars(errors).items() if name.endswith("Error")]
    assert len(named) == 6
    assert all(issubclass(error, ga.GaError) for error in named)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("--population-size must be 1..9", "population_size must be 1..9"),
        (
            "choose with --time-format '%d' or --timeframe",
            "choose with time_format '%d' or time_frame",
        ),
        (
            "--store x: gone; run: python -m ga resume 1 --store x",
            "store x: gone; run: python -m ga resume 1 --store x",
        ),
    ],
)
def test_messages_name_arguments_instead_of_options(typed: str, shown: str) -> None:
    assert in_python(typed) == shown
