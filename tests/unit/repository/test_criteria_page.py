"""The table of criteria in the documents is made from the criteria."""

from __future__ import annotations

import dataclasses

import pytest

from tools.architecture import ROOT, OutdatedError, updated
from tools.criteria_page import PAGE, PROGRAM, generated, main
from validation.criteria.registry import CRITERIA


def test_table_is_up_to_date() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert updated(page, generated(), program=PROGRAM) == page, f"run: python -m {PROGRAM}"
    assert main(["--check"]) == 0


def test_criteria_describe_pass_and_fail() -> None:
    assert [one.id for one in CRITERIA if not (one.passes and one.fails)] == []


def test_new_criterion_is_in_the_table() -> None:
    new = dataclasses.replace(CRITERIA[0], id="new", passes="a | b", fails="")
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    table = updated(page, generated([*CRITERIA, new]), program=PROGRAM)
    assert "| new | a \\| b |  |\n" in table
    bare = dataclasses.replace(new, passes="")
    assert f"| new | {new.target} |  |" in generated([bare])


def test_page_without_table_markers_is_an_error() -> None:
    with pytest.raises(OutdatedError, match=PROGRAM):
        updated("nothing", generated(), program=PROGRAM)
