"""The report: complete, offline, escaped, bounded in size."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evolution_gate import reports
from evolution_gate.reports.charts import timeline
from evolution_gate.reports.html import render_page
from evolution_gate.reports.svg import ticks
from evolution_gate.reports.text_formats import summary
from tests.support.evidence_builders import (
    certificates,
    change,
    evidence,
    healthy,
    passing,
    shifted,
)
from tests.support.evidence_records import T0, Timed
from validation.criteria.registry import CRITERIA
from validation.decision import decide
from validation.evidence.records import Fault, Note, Recovery, Workload
from validation.evidence.records_ledger import Audit, Generation
from validation.evidence.records_network import Survey

HEALTHY = passing()
EVIL = '<script>alert("x")</script>]]>|`\x00'
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting and gathers what a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{k}={v}" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        self.fetched += [k for k, _ in attrs if k.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(tmp_path: Path, events: list[Timed], **options: bool) -> tuple[str, str, str]:
    record = evidence(events, **options)
    paths = reports.write(decide([record]), [record], tmp_path / "out")
    assert [path.name for path in paths] == [
        *("report.html", "junit.xml", "summary.md", "comment.md"),
    ]
    page, junit, summary = (path.read_text(encoding="utf-8") for path in paths[:3])
    return page, junit, summary


def test_page_is_complete_and_offline(tmp_path: Path) -> None:
    page, _, _ = written(tmp_path, HEALTHY)
    parsed = Page(page)
    assert all(where.startswith("href=#") for where in parsed.fetched)
    assert not {"script", "link", "iframe", "img"} & set(parsed.tags)
    assert "url(" not in page
    assert "@import" not in page
    assert parsed.tags.count("h1") == 1
    assert page.count('role="img"') == 3
    for criterion in CRITERIA:
        assert f">{criterion.id}<" in page
    for text in ("prefers-color-scheme: dark", "--replay 7", "0" * 64, "INCONCLUSIVE", "Xeon"):
        assert text in page


def test_junit(tmp_path: Path) -> None:
    lost = ("lost: generation 0 index 0 (known to nobody)",)
    events = change(
        HEALTHY,
        Audit,
        lambda r: dataclasses.replace(
            r,
            lost=1,
            committed=r.committed - 1,
            from_cache=min(r.from_cache, r.committed - 1),
            witnesses=lost,
        ),
    )
    events = [(at, record) for at, record in events if not isinstance(record, Survey)]
    _, junit, _ = written(tmp_path, events)
    suite = ElementTree.fromstring(junit)[0]
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == [criterion.id for criterion in CRITERIA]
    assert cases["no_data_loss"].find("failure") is not None
    skipped = cases["exposure"].find("skipped")
    assert skipped is not None
    assert "0 surveys" in (skipped.get("message") or "")
    assert len(cases["speedup"]) == 1
    assert (suite.get("tests"), suite.get("failures")) == ("24", "5")
    assert suite.get("skipped") == "1"


def test_summary(tmp_path: Path) -> None:
    _, _, text = written(tmp_path, HEALTHY)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == 24
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    assert "0 of 0 mutants detected; false-positive rate: not measured" in text
    assert "GO is not possible: `uptime`," in text


def test_certification_is_in_page_and_summary() -> None:
    found = certificates(c.id for c in CRITERIA)
    count = len(found) - len(CRITERIA)
    result = decide([healthy()], certificates=found)
    said, page = summary(result), render_page(result, [healthy()])
    for text in (said, page):
        assert "alse alarms: 0 of 24 verdicts on the healthy system, 24 of them PASS" in text
    assert f"{count} of {count} mutants detected" in said
    assert "not certified" not in said
    assert "Every criterion is certified." in page
    assert page.count("it was found") == len(found)


def test_foreign_text_is_escaped(tmp_path: Path) -> None:
    events = change(
        HEALTHY, Audit, lambda r: dataclasses.replace(r, lost=1, witnesses=(EVIL, "line\nbreak"))
    )
    events = change(events, Recovery, lambda r: dataclasses.replace(r, target=EVIL))
    events.append((T0 + 700, Note(text=EVIL)))
    page, junit, summary = written(tmp_path, events)
    assert "script" not in Page(page).tags
    ElementTree.fromstring(junit)
    assert "<script" not in summary


@pytest.mark.parametrize("closed", [True, False])
def test_empty_record_has_a_report(tmp_path: Path, closed: bool) -> None:
    page, _, summary = written(tmp_path, [(T0, Note(text="nothing"))], closed=closed)
    Page(page)
    assert ("cut short" in page) is not closed
    assert ("cut short" in summary) is not closed


def test_incomplete_records_have_a_report(tmp_path: Path) -> None:
    events = change(HEALTHY, Recovery, lambda r: dataclasses.replace(r, node_back_s=None))
    events = change(events, Generation, lambda r: dataclasses.replace(r, seconds=0.0))
    events = change(events, Workload, lambda r: dataclasses.replace(r, seconds=0.0))
    page, _, _ = written(tmp_path, events)
    Page(page)
    one = [e for e in HEALTHY if not isinstance(e[1], Generation) or e[1].generation == 0]
    Page(written(tmp_path, one)[0])


def test_page_size_is_bounded(tmp_path: Path) -> None:
    records = [
        evidence(shifted(HEALTHY, 3600 * n), run=f"run-{n}", began=T0 + 3600 * n) for n in range(20)
    ]
    page = reports.write(decide(records), records, tmp_path)[0]
    assert page.stat().st_size < 500_000


def test_timeline_shades_faults_until_their_undo() -> None:
    def receipt(fault: str, target: str, at: float, confirmed: bool = True) -> Timed:
        one = Fault(
            fault=fault,
            target=target,
            requested_at=at,
            confirmed_at=at + 0.5,
            confirmed=confirmed,
            before={},
            after={},
            detail="",
            workload=None,
        )
        return at + 1, one

    events = change(HEALTHY, Fault, lambda _: None)
    events = change(events, Recovery, lambda _: None)
    plain = timeline(evidence(events))
    assert plain is not None
    assert "away" not in plain
    assert "faulthead" not in plain
    events += [
        receipt("kill", "node-1", T0 + 100),
        receipt("start", "node-2", T0 + 105),
        receipt("start", "node-1", T0 + 108, confirmed=False),
        receipt("start", "node-1", T0 + 110),
        receipt("disk_full", "postgres", T0 + 200),
        receipt("disk_free", "postgres", T0 + 220),
        receipt("drain", "node-4", T0 + 300),
    ]
    drawn = timeline(evidence(events))
    assert drawn is not None
    assert drawn.count('class="faulthead"') == 3
    assert drawn.count('class="away"') == 2
    assert "node-1: kill, 10.5 s" in drawn
    assert "postgres: disk_full, 20.5 s" in drawn


@pytest.mark.parametrize("top", [0.0, 0.003, 1.0, 7.3, 99.0, 100.0, 12345.0])
def test_ticks_cover_the_data(top: float) -> None:
    marks = ticks(top)
    assert marks[0] == 0
    assert marks[-1] >= top
    assert 2 <= len(marks) <= 12
