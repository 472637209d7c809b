"""Grafana runs and every panel has data."""

from __future__ import annotations

from typing import Final

from validation.contract import PROMETHEUS, SCRAPE_GAPS, Criterion, CriterionPlugin, Mutant
from validation.criteria.helpers import refusals
from validation.criteria.plan import METRICS
from validation.evidence.records_monitoring import (
    Panel,
    Probe,
)
from validation.evidence.records_target import NotRun
from validation.mutation.patches import patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    inconclusive,
    plural,
)

_ZERO: Final = 1e-9
"""Difference of means that is rounding."""


def grafana_functional(records: Records) -> Verdict:
    """Grafana is healthy, and every query of every panel returns the right values through it.

    Right: the mean is that of a second query, within a tolerance, the unit is the one of the
    expectation, and the newest value is what the gate counted, if it counts it. FAIL: a query
    returned no data or others, from Grafana or from Prometheus, or Grafana is not healthy. When
    only Prometheus was asked, or a second query has no answer, the verdict is INCONCLUSIVE.
    """
    problems: list[str] = []
    counted = 0
    empty: list[str] = []
    count = 0
    through_grafana = False
    for record in records:
        panels = record.all(Panel)
        health = [probe for probe in record.all(Probe) if probe.probe == "grafana"]
        empty += [
            f"{panel.dashboard} / {panel.panel}: {panel.detail or 'no data'}"
            for panel in panels
            if panel.points <= 0
        ]
        for panel in panels:
            name = f"{panel.dashboard} / {panel.panel}"
            wrong, unknown = _compared(panel)
            empty += [f"{name}: {what}" for what in wrong]
            problems += [f"{name}: {what}" for what in unknown]
            counted += panel.own is not None
        empty += [f"Grafana: {probe.detail}" for probe in health if not probe.ok]
        problems += [
            f"{one.stage}: not asked"
            for one in record.all(NotRun)
            if "grafana_functional" in one.criteria
        ]
        count += len(panels)
        for via in {panel.via for panel in panels}:
            asked = {(p.dashboard, p.panel, p.query) for p in panels if p.via == via}
            of = max(p.of for p in panels if p.via == via)
            if len(asked) < of:
                problems.append(f"run {record.run}: {len(asked)} of {of} queries were sent")
            elif via == "grafana" and health:
                through_grafana = True
    if empty:
        return Verdict(
            status=Status.FAIL, measured=f"{len(empty)} of {count} bad", reason=format_list(empty)
        )
    needs = "a Grafana server: GA_GRAFANA_URL names one"
    if not count:
        raise InconclusiveError(
            format_list(refusals(records, "prometheus") or ["no query of a panel was sent"]),
            needs=needs,
        )
    measured = f"{count} of {count} queries have data"
    sources = (
        f"compared with {plural(count, 'second query', 'second queries')}, "
        f"and {counted} of them also with what the gate counted"
    )
    if not through_grafana:
        return inconclusive(
            format_list(
                [
                    "no Grafana server; the panels' queries were sent to Prometheus, and "
                    + (sources if not problems else "not all could be compared"),
                    *problems,
                ]
            ),
            needs=needs,
            measured=measured,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        reason=f"through Grafana, which reports that it is healthy; {sources}",
    )
    return downgrade(verdict, problems, needs="every query of every panel, once")


def _compared(panel: Panel) -> tuple[list[str], list[str]]:
    """What is wrong with a panel's values, and what is not known of them."""
    if panel.points <= 0:
        return [], []
    if panel.mean is None or panel.expected_mean is None or not panel.expected_unit:
        return [], ["its values were not compared with a second query's"]
    wrong = []
    if panel.unit != panel.expected_unit:
        wrong.append(f"its unit is {panel.unit or 'none'}, not {panel.expected_unit}")
    scale = max(abs(panel.mean), abs(panel.expected_mean))
    if not abs(panel.mean - panel.expected_mean) <= panel.tolerance * scale + _ZERO:
        wrong.append(
            f"its mean is {panel.mean:.4g}, not {panel.expected_mean:.4g} ± {panel.tolerance:.0%}"
        )
    if panel.own is not None and panel.last != panel.own:
        wrong.append(f"its newest value is {panel.last:g}, and the gate counted {panel.own:g}")
    return wrong, []


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="grafana_functional",
            statement="Grafana runs and every panel shows the right data",
            target="every panel returns the values of a second query",
            clause=f'{METRICS}: "grafana_dashboards_functional"',
            evidence_needed="a healthy Grafana, every query of every panel sent through it, and a "
            "second query for each",
            passes=(
                "a Grafana is healthy, and every query of every panel returns data through it with "
                "the mean and the unit of a second, separately written query (within 2 %; 10 % "
                "for series that rules record, 25 % if they are of an engine); the number of nodes "
                "is what the control service told the gate; without a Grafana the queries are "
                "sent to Prometheus, and the verdict is "
                "INCONCLUSIVE"
            ),
            fails="a query returned no data, other values or another unit",
            measures=(
                "the values of each panel's query over the time from the campaign's begin to 5 s "
                "before the query, and of the second query over the same time"
            ),
            clock=(
                "Prometheus' own samples, by two queries; for the nodes alive and for whether the "
                "cluster is available also Ray's control service, as the gate asked it"
            ),
            limits=(
                "samples that are wrong at their source, of which only the nodes are counted "
                "otherwise; labels and legends; curves with the right mean but wrong moments"
            ),
            verdict=grafana_functional,
            trusts=(
                SCRAPE_GAPS,
                PROMETHEUS,
            ),
            position=80,
        ),
    ),
    mutants=(
        Mutant(
            name="a panel that divides by the wrong series",
            criterion="grafana_functional",
            stages=("recovery", "panels"),
            patches=patch(
                "deploy/grafana/dashboards/cluster.json",
                '"expr": "ray:node_memory:ratio{node=~\\"$node\\"}"',
                '"expr": "max by (node) (ray_node_mem_used) / max by (node) (ray_node_cpu_count)"',
            ),
        ),
        Mutant(
            name="a panel with another unit",
            criterion="grafana_functional",
            stages=("recovery", "panels"),
            patches=patch(
                "deploy/grafana/dashboards/cluster.json",
                '"unit": "bool_on_off"',
                '"unit": "percent"',
            ),
        ),
        Mutant(
            name="a panel that is constant",
            criterion="grafana_functional",
            stages=("recovery", "panels"),
            patches=patch(
                "deploy/grafana/dashboards/cluster.json",
                '"expr": "max by (node) (ray_node_cpu_utilization{node=~\\"$node\\"})"',
                '"expr": "vector(50)"',
            ),
        ),
        Mutant(
            name="broken panel",
            criterion="grafana_functional",
            stages=("recovery", "panels"),
            patches=patch(
                "deploy/grafana/dashboards/cluster.json",
                '"expr": "sum(ray_running_jobs)"',
                '"expr": "sum(ray_no_such_series)"',
            ),
        ),
    ),
)
