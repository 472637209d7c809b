"""The report: offline, with every sample, its curve and its sentences; as text, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evolution_gate.benchmarks import charts, markdown
from evolution_gate.benchmarks.__main__ import scale_remarks
from evolution_gate.benchmarks.bench_scaleout import Sample, ScaleOut, market_of_arms
from evolution_gate.benchmarks.page import MOST_DOTS, by_suite, thinned, write_page
from evolution_gate.benchmarks.samples import Measurement
from ga.capacity.cost_model import Costs

TIMES = {"local": 60.0, "1 node": 65.0, "2 nodes": 34.0, "4 nodes": 19.0}
COSTS = Costs(
    genome={"ema_crossover": 1e-3, "pca_tree_quantile": 20e-3},
    task=0.5e-3,
    dispatch=(0.5e-3, 0.6e-6),
    breeding=(3e-3, 18e-6),
    commit=(5e-3, 20e-6),
)


def scaleout() -> ScaleOut:
    samples = [
        Sample(
            arm=arm,
            repeat=repeat,
            seconds=seconds * (1 + 0.02 * repeat),
            cpu_seconds=23.0,
            startup_seconds=3.0,
            nodes_used=1,
            digest="d",
            at=0.0,
        )
        for repeat in range(3)
        for arm, seconds in TIMES.items()
    ]
    return ScaleOut(
        samples=tuple(samples),
        evaluations=2_300,
        evaluated=({"ema_crossover": 600},) * 4,
        recoveries=((1.1, 7.0), (1.2, 7.5)),
        whole=tuple(
            replace(samples[0], arm=arm, seconds=seconds, cpu_seconds=seconds / (1 + beside))
            for arm, seconds, beside in (
                ("local", 10.0, 0.02),
                ("1 node", 10.4, 0.05),
                ("1 node", 10.6, 0.05),
                ("local", 10.0, 0.02),
            )
        ),
    )


def test_cluster_cost_is_measured_by_pairs() -> None:
    (cost,) = [m for m in scaleout().measurements() if "over local there" in m.name]
    assert [round(s, 6) for s in cost.samples] == [4.0, 6.0]
    assert "+5.0%, at most" in cost.note
    assert "of evaluations +2.9%" in cost.note
    ratios = {m.name: m.samples for m in scaleout().measurements() if "over 1 node" in m.name}
    assert {n: round(s[0], 3) for n, s in ratios.items()} == {
        "2 nodes over 1 node": round(65 / 34, 3),
        "4 nodes over 1 node": round(65 / 19, 3),
    }


def test_report_is_complete_and_offline(tmp_path: Path) -> None:
    measured = scaleout()
    found = [
        Measurement(suite="memory", name="a|b <c>", unit="MiB", samples=(1.0, 2.0, 3.0)),
        *measured.measurements(),
    ]
    law = measured.law()
    assert law is not None
    remarks = scale_remarks(law, measured.predicted(COSTS))
    facts = {"cpu": "Xeon", "cores": 2}
    page = tmp_path / "report.html"
    write_page(
        page,
        stamp="now",
        facts=facts,
        measurements=found,
        scaleout=measured,
        remarks=remarks,
        drawing=charts.scale_out(measured.by_nodes(), law),
    )
    text = page.read_text()
    for wanted in ("Memory by population", "Recovery", "runs a second: nodes", "scalability law"):
        assert wanted in text
    assert "a|b &lt;c&gt;" in text
    assert text.count('<circle class="dot"') >= 9
    for loads in ("http://", "https://", "url(", "@import", "<script"):
        assert loads not in text
    summary = markdown.summary(stamp="now", facts=facts, suites=by_suite(found), remarks=remarks)
    assert "a\\|b <c>" in summary
    assert "| cpu | Xeon |" in summary
    assert remarks[0] in summary


def test_every_suite_is_in_the_report() -> None:
    found = [
        Measurement(suite=suite, name="one", unit="s", samples=(1.0,))
        for suite in ("new kind", "service latency", "kernels")
    ]
    titles = [title for title, _ in by_suite(found)]
    assert len(titles) == 3
    assert titles[-1] == "new kind"
    assert "HTTP service" in titles[1]


def test_page_thins_samples_and_keeps_the_extremes(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    samples = (*(2.0 + n % 7 / 10 for n in range(5_000)), 1.0, 9.0)
    one = Measurement(suite="service latency", name="reads", unit="ms", samples=samples)
    few = Measurement(suite="memory", name="a", unit="MiB", samples=samples[:3])
    for found, dots in (([one], MOST_DOTS), ([few], 3)):
        write_page(page, stamp="now", facts={}, measurements=found, scaleout=ScaleOut())
        text = page.read_text()
        assert text.count('<circle class="dot"') == dots
        assert ("in order of size" in text) == (dots == MOST_DOTS)
    assert {min(samples), max(samples)} <= set(thinned(samples))


def test_remarks_compare_the_simulation_with_measurements() -> None:
    law, predicted = scaleout().law(), scaleout().predicted(COSTS)
    first, second = scale_remarks(law, predicted)
    assert "serial part" in first
    assert "1 node 66.3 s for 66.3 s (+0%)" in second
    assert ("NOT within" in second) == any(abs(one.error) > 0.1 for one in predicted)
    assert scale_remarks(None, ()) == []


def test_market_of_arms_is_parsed_from_name() -> None:
    assert market_of_arms() == (2, 10_000)
