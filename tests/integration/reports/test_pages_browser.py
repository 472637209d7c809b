"""The pages in a real browser: nothing fetched, no error, readable by keyboard and by ear."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from evolution_gate import reports
from evolution_gate.benchmarks import charts
from evolution_gate.benchmarks.bench_scaleout import Sample, ScaleOut
from evolution_gate.benchmarks.page import write_page
from evolution_gate.benchmarks.samples import Measurement
from evolution_gate.reports.runs import MOST_RUNS
from tests.support.evidence_builders import change, evidence, passing
from tools import screenshot
from validation.decision import decide
from validation.evidence.records_ledger import Audit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, their list and that of many more, and a benchmark's page; the second run has lost
    an individual."""
    runs = tmp_path_factory.mktemp("runs")
    lost = change(passing(8), Audit, lambda r: dataclasses.replace(r, lost=1))
    for name, events in (("first", passing()), ("second", lost)):
        record = evidence(events, run=name)
        reports.write(decide([record]), [record], runs / name, runs=runs)
    many = runs / "many"
    for number in range(MOST_RUNS + 1):
        shutil.copytree(runs / "second", many / f"20261126-1200{number:02}-1234567890")
    reports.write_index(many)
    benchmark(runs / "benchmark.html")
    return runs


def benchmark(path: Path) -> None:
    """A page of what a benchmark measured: a long name, one sample, values far apart, a curve."""
    seconds = {"local": 60.0, "1 node": 65.0, "2 nodes": 34.0, "4 nodes": 19.0}
    samples = [
        Sample(
            arm=arm,
            repeat=repeat,
            seconds=taken * (1 + 0.02 * repeat),
            cpu_seconds=23.0,
            startup_seconds=3.0,
            nodes_used=1,
            digest="d",
            at=0.0,
        )
        for repeat in range(3)
        for arm, taken in seconds.items()
    ]
    measured = ScaleOut(samples=tuple(samples), evaluations=2_300)
    law = measured.law()
    assert law is not None
    others = [
        Measurement(suite="kernels", name="a" * 60, unit="ns", samples=(1.0, 2.0, 900.0)),
        Measurement(suite="kernels", name="other", unit="ns", samples=(50.0,), note="n" * 300),
        Measurement(suite="service latency", name="reads", unit="ms", samples=(2.0, 3.0) * 500),
    ]
    write_page(
        path,
        stamp="20261126-120000",
        facts={"cpu": "Xeon " * 12, "commit": "0" * 40},
        measurements=[*others, *measured.measurements()],
        scaleout=measured,
        remarks=["one sentence"],
        drawing=charts.scale_out(measured.by_nodes(), law),
    )


_CUT_OFF = """() => [...document.querySelectorAll("main *")]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === "hidden")
    .filter(e => !e.matches(".said, thead"))
    .map(e => e.outerHTML.slice(0, 90))"""
"""Boxes that hide a part of themselves, with no way to scroll to it."""


def opened(browser: Browser, page: Path, *, width: int, scheme: str) -> tuple[Page, list[str]]:
    """A page and what its browser complained of or asked a network for."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    tab, wrong = context.new_page(), list[str]()
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on(
        "request",
        lambda request: None if request.url.startswith("file:") else wrong.append(request.url),
    )
    tab.goto(page.as_uri())
    return tab, wrong


@pytest.mark.parametrize(
    "name", ["second/report.html", "index.html", "many/index.html", "benchmark.html"]
)
def test_pages_are_offline_accessible_and_fit(browser: Browser, pages: Path, name: str) -> None:
    tab, wrong = opened(browser, pages / name, width=1280, scheme="light")
    for width, scheme in itertools.product((1280, 400), ("light", "dark")):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found = Axe().run(tab)
        assert found.violations_count == 0, (width, scheme, found.generate_report())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, scheme
        assert tab.evaluate(_CUT_OFF) == [], (width, scheme)
    assert wrong == []
    tab.context.close()


def test_verdict_filter_works_by_keyboard(browser: Browser, pages: Path) -> None:
    tab, _ = opened(browser, pages / "second" / "report.html", width=1280, scheme="light")
    rows = tab.locator("tbody.rows > tr")
    everything = rows.count()
    shown = tab.locator("tbody.rows > tr:visible")
    assert shown.count() == everything > 20
    tab.locator("#show-all").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#show-fail").is_checked()
    failed = {"no_data_loss", "rollback", "autoscaling", "preemption", "population_load"}
    assert {row.get_attribute("id") for row in shown.all()} == failed
    # Paper has no filter: everything is printed.
    tab.emulate_media(media="print")
    assert shown.count() == everything
    tab.context.close()


def test_links_lead_to_criterion_and_run(browser: Browser, pages: Path) -> None:
    tab, _ = opened(browser, pages / "index.html", width=1280, scheme="light")
    assert "no_data_loss PASS → FAIL" in tab.locator("#runs ~ .card").first.inner_text()
    tab.locator("a[href='second/report.html']").click()
    tab.get_by_label("Link to no_data_loss").click()
    tab.wait_for_url("**/second/report.html#no_data_loss")
    assert tab.locator("tr:target").get_attribute("id") == "no_data_loss"
    tab.context.close()


def test_screenshot_command_and_its_errors(
    pages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "page.png"
    assert screenshot.main([str(pages / "index.html"), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="2"):
        screenshot.main([str(tmp_path / "none.html"), "--out", str(picture)])
    assert "pytest -m validation" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="2"):
        screenshot.main([str(pages / "index.html"), "--out", str(picture)])
    assert "apt-get install chromium" in capsys.readouterr().err
