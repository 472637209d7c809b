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
from validation.mutation.patches import patch
from validation.verdict import (
    InconclusiveError,
    Records,
    Status,
    Verdict,
    downgrade,
    format_list,
    inconclusive,
)


def grafana_functional(records: Records) -> Verdict:
    """Grafana is healthy, and every query of every panel returns data through it.

    FAIL: a query returned no data, from Grafana or from Prometheus, or Grafana is not healthy. When
    only Prometheus was asked the verdict is INCONCLUSIVE: Grafana itself was not tested.
    """
    problems: list[str] = []
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
        empty += [f"Grafana: {probe.detail}" for probe in health if not probe.ok]
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
    if not through_grafana:
        return inconclusive(
            format_list(
                ["no Grafana server; the panels' queries were sent to Prometheus", *problems]
            ),
            needs=needs,
            measured=measured,
        )
    verdict = Verdict(
        status=Status.PASS,
        measured=measured,
        reason="through Grafana, which reports that it is healthy",
    )
    return downgrade(verdict, problems, needs="every query of every panel, once")


PLUGIN: Final = CriterionPlugin(
    criteria=(
        Criterion(
            id="grafana_functional",
            statement="Grafana runs and every panel has data",
            target="every panel returns data",
            clause=f'{METRICS}: "grafana_dashboards_functional"',
            evidence_needed="a healthy Grafana, and every query of every panel sent through it",
            passes=(
                "a Grafana is healthy and every query of every panel returns data through it; "
                "without a Grafana the queries are sent to Prometheus, and the verdict is "
                "INCONCLUSIVE"
            ),
            fails="a query returned no data",
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
