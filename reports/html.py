"""The pages: self-contained HTML files without scripts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined
from markupsafe import Markup

from evolution_gate.reports import charts
from evolution_gate.reports.runs import Run, read_runs, trend
from evolution_gate.reports.text_formats import interval
from validation.decision import Decision, GateResult
from validation.evidence.log import Evidence
from validation.evidence.records import Environment, Fault, Note
from validation.verdict import Status, format_list

_MOST_RUNS: Final = 6
"""Maximum number of timelines, so that the page of many runs stays small."""
_MOST_NOTES: Final = 50
_MOST_FAULTS: Final = 200
_SENTENCES: Final = {
    Decision.GO: "Every criterion is proven. Phase 2 may begin.",
    Decision.NO_GO: "At least one criterion is proven not to hold.",
    Decision.INCONCLUSIVE: "No criterion is proven to fail, but not all are proven to hold.",
}

_OTHER_TARGETS: Final = "This is no decision on the plan: the criteria were held to other targets."


def render_index(folder: Path, found: tuple[Sequence[Run], Sequence[str]] | None = None) -> str:
    """The page that lists and compares the decided runs in the folders of ``folder``.

    Args:
        folder: The parent of the runs' folders.
        found: What ``read_runs`` gives of it; None: read it.
    """
    runs, damaged = read_runs(folder) if found is None else found
    rows = [
        (
            run,
            ", ".join(f"{run.count(status)} {status.value}" for status in Status),
            run.changed(runs[number - 1]) if number else None,
        )
        for number, run in enumerate(runs)
    ]
    last = [(folder / run.folder).as_posix() for run in runs[-2:]]
    return _render(
        "index.html.j2",
        rows=rows[::-1],
        damaged=damaged,
        trend=trend(runs),
        compare=last if len(last) == 2 else ["BEFORE", "AFTER"],
        utc=_utc,
    )


def render_page(result: GateResult, evidence: Sequence[Evidence], runs: Sequence[Run] = ()) -> str:
    """The report as HTML; ``runs`` are the runs of its trend, including this one."""
    bounds = result.verdicts["speedup"].interval if "speedup" in result.verdicts else None
    drawn = [(record, charts.timeline(record)) for record in evidence[:_MOST_RUNS]]
    return _render(
        "report.html.j2",
        trend=trend(runs),
        result=result,
        sentence=_OTHER_TARGETS if result.differences else _SENTENCES[result.decision],
        counts=[(status, result.count(status)) for status in Status],
        decisive=[
            (status.value, names)
            for status in (Status.FAIL, Status.INCONCLUSIVE)
            if (names := [c.id for c in result.criteria if result.verdicts[c.id].status is status])
        ],
        rows=[
            (
                criterion,
                result.verdicts[criterion.id],
                interval(criterion, result.verdicts[criterion.id]),
            )
            for criterion in result.criteria
        ],
        runs=[(record, chart) for record, chart in drawn if chart is not None],
        runs_left_out=max(len(evidence) - _MOST_RUNS, 0),
        speedup=charts.speedup(evidence, bounds),
        recoveries=charts.recoveries(evidence),
        phases=[
            (charts.phase_key(index), name)
            for index, name in enumerate(("detected", "rescheduled", "first result", "node back"))
        ],
        faults=[(record, fault) for record in evidence for fault in record.all(Fault)][
            :_MOST_FAULTS
        ],
        environments=[
            (record, sorted(environment.values.items()))
            for record in evidence[:_MOST_RUNS]
            for environment in record.all(Environment)[:1]
        ],
        notes=[note.text for record in evidence for note in record.all(Note)][:_MOST_NOTES],
        listed=format_list,
        utc=_utc,
        clock=_clock,
        openings={record.run: record.opening for record in evidence},
    )


def _render(template: str, **values: object) -> str:
    templates = Templates(
        loader=PackageLoader("evolution_gate.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["quoted"] = shlex.quote
    style = Markup((Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8"))
    return templates.get_template(template).render(style=style, **values)


def _utc(at: float) -> str:
    return _date(at, "%Y-%m-%d %H:%M UTC")


def _clock(at: float) -> str:
    return _date(at, "%H:%M:%S")


def _date(at: float, form: str) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        # No calendar goes that far; the evidence is open to doubt, and the page shows why.
        return f"{at:g} s"
