"""The sections on criteria in the documents are made from the criteria."""

from __future__ import annotations

import dataclasses

import pytest

from tools.architecture import ROOT, OutdatedError, updated
from tools.criteria_page import PAGE, PROGRAM, generated, main
from validation.criteria.registry import CRITERIA


def test_page_is_up_to_date() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert updated(page, generated(), program=PROGRAM) == page, f"run: python -m {PROGRAM}"
    assert main(["--check"]) == 0


def test_criteria_describe_what_they_measure() -> None:
    described = ("passes", "fails", "measures", "clock", "limits")
    assert [(c.id, name) for c in CRITERIA for name in described if not getattr(c, name)] == []


def test_new_criterion_has_a_section() -> None:
    new = dataclasses.replace(CRITERIA[0], id="new", passes="a bound", fails="", limits="much")
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    sections = updated(page, generated([*CRITERIA, new]), program=PROGRAM)
    assert "\n### new\n" in sections
    assert sections.count("\n- *Not shown*: much\n") == 1
    bare = dataclasses.replace(new, passes="")
    assert f"- *PASS*: {new.target}\n" in generated([bare])
    assert "FAIL" not in generated([bare])


def test_page_without_markers_is_an_error() -> None:
    with pytest.raises(OutdatedError, match=PROGRAM):
        updated("nothing", generated(), program=PROGRAM)
