"""Charts of a run as inline SVG: bounded in size, however long the record.

Colours are classes, so that the page's style sheet can darken them; every mark that matters also
differs in shape or carries a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from evolution_gate.reports.svg import path, picture, tag, ticks
from validation.evidence.log import Evidence
from validation.evidence.records import Fault, Recovery, Workload
from validation.evidence.records_ledger import Generation

WIDTH: Final = 960.0
_LEFT, _RIGHT, _TOP = 62.0, 16.0, 30.0
_BINS: Final = 240
_MOST_ROWS: Final = 40
_MOST_FAULTS: Final = 100
_LABEL_WIDTH: Final = 84.0
_REPAIRS: Final = ("start", "resume", "heal", "mend", "disk_free")
"""Receipts of what ended a fault, or began nothing that could be one."""


def timeline(record: Evidence) -> Markup | None:
    """Evaluations a second over time, by arm, with faults and recoveries; None without work."""
    arms = {work.id: work.arm for work in record.all(Workload)}
    done = [g for g in record.all(Generation) if g.seconds > 0]
    if not done:
        return None
    receipts = record.all(Fault)
    faults = [f for f in receipts if f.fault not in _REPAIRS][:_MOST_FAULTS]
    begin = min([g.finished_at - g.seconds for g in done] + [f.requested_at for f in faults])
    end = max([g.finished_at for g in done] + [f.requested_at for f in faults])
    span = max(end - begin, 1.0)
    rates = {
        arm: _rates([g for g in done if arms.get(g.workload) == arm], begin, span)
        for arm in ("local", "distributed")
    }
    marks = ticks(max(max(rate) for rate in rates.values()), 4)
    axes = _Axes(begin=begin, span=span, most=marks[-1])
    parts = [
        *_grid(marks, axes.y, "evaluations / s"),
        *_minutes(axes),
        *_absences(faults, receipts, axes),
        *_recovery_spans(record.all(Recovery)[:_MOST_FAULTS], axes),
    ]
    for arm, rate in rates.items():
        if any(rate):
            parts.append(_area(arm, rate, end, axes))
    parts += _fault_marks(faults, axes)
    text = f"Evaluations a second over {span / 60:.1f} minutes, with {len(faults)} faults."
    title = f"Throughput and faults of run {record.run}"
    return picture(WIDTH, axes.bottom + 42, title, text, *parts)


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """Time and rate of the timeline, in the units of the picture."""

    begin: float
    span: float
    """Seconds from the left end to the right."""
    most: float
    """The rate at the top."""
    bottom: float = 240.0

    def x(self, at: float) -> float:
        share = min(max((at - self.begin) / self.span, 0.0), 1.0)
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * share

    def y(self, rate: float) -> float:
        return self.bottom - (self.bottom - _TOP) * rate / self.most

    def band(self, title: str, begin: float, end: float, class_: str) -> Markup:
        """A stretch of time over the whole height."""
        left = self.x(begin)
        return tag(
            "rect",
            tag("title", title),
            x=left,
            y=_TOP,
            width=max(self.x(end) - left, 1.5),
            height=self.bottom - _TOP,
            class_=class_,
        )


def _minutes(axes: _Axes) -> list[Markup]:
    """The labels of the time axis."""
    parts = []
    below = axes.bottom + 18
    for minute in ticks(axes.span / 60, 8):
        if minute * 60 <= axes.span:
            at = axes.x(axes.begin + minute * 60)
            parts.append(
                tag("text", f"{minute:g}", x=at, y=below, class_="axis", text_anchor="middle")
            )
    end = WIDTH - _RIGHT
    parts.append(
        tag("text", "minutes", x=end, y=axes.bottom + 36, class_="axis", text_anchor="end")
    )
    return parts


def _absences(faults: Sequence[Fault], receipts: Sequence[Fault], axes: _Axes) -> list[Markup]:
    """The time from each fault to its repair."""
    parts = []
    for fault in faults:
        until = _ended(fault, receipts)
        if until is not None:
            away = f"{fault.target}: {fault.fault}, {until - fault.requested_at:.1f} s"
            parts.append(axes.band(away, fault.requested_at, until, "away"))
    return parts


def _recovery_spans(recoveries: Sequence[Recovery], axes: _Axes) -> list[Markup]:
    """The time that each recovery took, or that it was watched in vain."""
    parts = []
    for recovery in recoveries:
        total = recovery.total_s
        said = "not recovered in" if total is None else "recovered in"
        seconds = recovery.window_s if total is None else total
        title = f"{recovery.target}: {said} {seconds:.1f} s"
        class_ = "recovery" if total is not None else "recovery open"
        parts.append(axes.band(title, recovery.fault_at, recovery.fault_at + seconds, class_))
    return parts


def _area(arm: str, rate: Sequence[float], end: float, axes: _Axes) -> Markup:
    """The rate of one arm over time."""
    points = [(_LEFT, axes.bottom)]
    for number, value in enumerate(rate):
        points += [
            (axes.x(axes.begin + axes.span * number / _BINS), axes.y(value)),
            (axes.x(axes.begin + axes.span * (number + 1) / _BINS), axes.y(value)),
        ]
    points.append((axes.x(end), axes.bottom))
    return tag("path", tag("title", f"{arm} work"), d=path(points), class_=f"area {arm}")


def _fault_marks(faults: Sequence[Fault], axes: _Axes) -> list[Markup]:
    """A line for each fault, with a label where there is room."""
    parts = []
    labelled = 0.0
    for fault in faults:
        at = axes.x(fault.requested_at)
        state = "confirmed" if fault.confirmed else "not confirmed"
        parts.append(
            tag(
                "g",
                tag("title", f"{fault.fault} {fault.target}, {state} from outside"),
                tag("line", x1=at, x2=at, y1=_TOP, y2=axes.bottom, class_="fault"),
                tag("path", d=f"M{at - 5:.1f},20L{at + 5:.1f},20L{at:.1f},29Z", class_="faulthead"),
            )
        )
        if at - labelled >= _LABEL_WIDTH:  # others are named by their title and in the table
            labelled = at
            parts.append(
                tag(
                    "text",
                    f"{fault.fault} {fault.target}",
                    x=at,
                    y=14,
                    class_="label small",
                    text_anchor="middle" if at < WIDTH - 60 else "end",
                )
            )
    return parts


def _ended(fault: Fault, receipts: Sequence[Fault]) -> float | None:
    """When the first repair of a fault's target after it was confirmed; None: never."""
    ends = [
        f.confirmed_at
        for f in receipts
        if f.fault in _REPAIRS
        and f.target == fault.target
        and f.confirmed
        and f.confirmed_at > fault.requested_at
    ]
    return min(ends, default=None)


def speedup(evidence: Sequence[Evidence], bounds: tuple[float, float] | None) -> Markup | None:
    """Wall seconds of both arms, pair by pair, and the ratio with its bounds against the target."""
    pairs = _pairs(evidence)[:_MOST_ROWS]
    if not pairs:
        return None
    # Left: seconds of both arms. Right: the ratio of each pair on a scale of its own.
    middle = 560.0
    marks = ticks(max(max(_wall(a), _wall(b)) for _, a, b in pairs), 5)
    ratios = [_wall(a) / _wall(b) for _, a, b in pairs]
    finite = [b for b in bounds or () if b < 1e6]
    steps = ticks(max([*ratios, *finite, 2.0]) * 1.02, 4)
    row, bottom = 44.0, _TOP + 44.0 * len(pairs)

    def seconds(value: float) -> float:
        return 70.0 + (middle - 150.0) * value / marks[-1]

    def ratio(value: float) -> float:
        return middle + 10 + (WIDTH - _RIGHT - middle - 20) * min(max(value / steps[-1], 0), 1)

    parts = [tag("text", "wall seconds", x=70, y=16, class_="axis")]
    parts.append(tag("text", "ratio local : distributed", x=middle + 10, y=16, class_="axis"))
    for mark in marks:
        parts += _upright(seconds(mark), bottom, f"{mark:g}")
    for step in steps:
        parts += _upright(ratio(step), bottom, f"{step:g}×")
    if bounds is not None:
        parts.append(_bounds(bounds, ratio, bottom))
    parts.append(tag("line", x1=ratio(2), x2=ratio(2), y1=_TOP - 6, y2=bottom + 4, class_="target"))
    parts.append(
        tag("text", "target", x=ratio(2) - 5, y=bottom + 34, class_="axis", text_anchor="middle")
    )
    for number, (label, local, distributed) in enumerate(pairs):
        top = _TOP + row * number + 6
        parts.append(tag("text", label, x=62, y=top + 20, class_="label", text_anchor="end"))
        parts += _bar(local, "local", seconds(_wall(local)), top)
        parts += _bar(distributed, "distributed", seconds(_wall(distributed)), top + 17)
        parts += _ratio_mark(ratios[number], ratio(ratios[number]), top)
    words = f"{len(pairs)} pairs, ratios from {min(ratios):.2f} to {max(ratios):.2f}; target 2."
    return picture(WIDTH, bottom + 42, "Speed-up of the cluster over one node", words, *parts)


def _pairs(evidence: Sequence[Evidence]) -> list[tuple[str, Workload, Workload]]:
    """Label, local arm and distributed arm of each pair of which both arms ended well."""
    pairs: list[tuple[str, Workload, Workload]] = []
    for record in evidence:
        found: dict[int, dict[str, Workload]] = {}
        for work in record.all(Workload):
            if work.purpose == "speedup" and work.pair is not None and work.exit_code == 0:
                found.setdefault(work.pair, {})[work.arm] = work
        for number, arms in sorted(found.items()):
            if len(arms) == 2 and all(_wall(work) > 0 for work in arms.values()):
                label = f"pair {number + 1}"
                pairs.append((label, arms["local"], arms["distributed"]))
    return pairs


def _wall(work: Workload) -> float:
    """Seconds from the start of its process to its end."""
    return work.finished_at - work.started_at


def _bounds(bounds: tuple[float, float], ratio: Callable[[float], float], bottom: float) -> Markup:
    """The confidence bounds of the ratio."""
    left, right = ratio(bounds[0]), ratio(bounds[1])
    return tag(
        "rect",
        tag("title", f"bounds of the ratio: {bounds[0]:.2f} to {bounds[1]:.2f}"),
        x=left,
        y=_TOP,
        width=max(right - left, 2.0),
        height=bottom - _TOP,
        class_="bounds",
    )


def _bar(work: Workload, arm: str, right: float, top: float) -> list[Markup]:
    """The seconds of one arm, with their number behind the bar."""
    nodes = "1 node" if arm == "local" else f"{work.nodes} nodes"
    return [
        tag("rect", x=70, y=top, width=right - 70, height=14, class_=f"bar {arm}"),
        tag(
            "text",
            f"{_wall(work):.1f} s, {nodes}",
            x=right + 5,
            y=top + 11,
            class_="label small",
        ),
    ]


def _ratio_mark(value: float, at: float, top: float) -> list[Markup]:
    """The ratio of one pair as a dot with its number."""
    number = tag(
        "text", f"{value:.2f}×", x=at, y=top + 4, class_="label small", text_anchor="middle"
    )
    return [tag("circle", cx=at, cy=top + 15, r=5, class_="dot"), number]


def recoveries(evidence: Sequence[Evidence]) -> Markup | None:
    """The phases of each recovery on one axis of seconds since the fault."""
    rows = [(record, r) for record in evidence for r in record.all(Recovery)][:_MOST_ROWS]
    if not rows:
        return None
    longest = max(
        max([s for s in r.phases.values() if s is not None] + [r.window_s * (r.total_s is None)])
        for _, r in rows
    )
    marks = ticks(longest, 6)
    left, row = 190.0, 30.0
    bottom = _TOP + row * len(rows)

    def x(value: float) -> float:
        return left + (WIDTH - left - 90) * value / marks[-1]

    parts = [tag("text", "seconds since the fault", x=left, y=16, class_="axis")]
    for mark in marks:
        parts += _upright(x(mark), bottom, f"{mark:g}")
    if marks[-1] >= 120:
        parts.append(tag("line", x1=x(120), x2=x(120), y1=_TOP, y2=bottom, class_="target"))
    for number, (_, recovery) in enumerate(rows):
        y = _TOP + row * number + row / 2
        total = recovery.total_s
        end = recovery.window_s if total is None else total
        name = f"{recovery.target}, {recovery.workload}"
        if len(name) > 27:
            name = name[:26] + "…"
        parts.append(
            tag("text", name, x=left - 10, y=y + 4, class_="label small", text_anchor="end")
        )
        parts.append(
            tag(
                "line",
                x1=x(0),
                x2=x(end),
                y1=y,
                y2=y,
                class_="track" if total is not None else "track open",
            )
        )
        for index, (phase, at) in enumerate(recovery.phases.items()):
            if at is not None:
                parts.append(_phase(index, x(at), y, f"{phase}: {at:.1f} s"))
        said = f"{total:.1f} s" if total is not None else f"> {recovery.window_s:.0f} s"
        parts.append(tag("text", said, x=x(end) + 12, y=y + 4, class_="label small"))
    words = f"{len(rows)} recoveries and their phases; the limit is 120 s."
    return picture(WIDTH, bottom + 28, "Recovery by phases", words, *parts)


def phase_key(index: int) -> Markup:
    """The mark of one phase, for the legend."""
    return tag("svg", _phase(index, 8, 8, ""), viewBox="0 0 16 16", width=16, height=16)


def _phase(index: int, x: float, y: float, title: str) -> Markup:
    """One phase, distinguished by shape as well as by colour."""
    name = tag("title", title) if title else Markup("")
    shapes = (
        f"M{x - 5:.1f},{y:.1f}a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z",
        f"M{x - 5:.1f},{y - 5:.1f}h10v10h-10Z",
        f"M{x:.1f},{y - 6:.1f}L{x + 6:.1f},{y + 5:.1f}L{x - 6:.1f},{y + 5:.1f}Z",
        f"M{x:.1f},{y - 6:.1f}L{x + 6:.1f},{y:.1f}L{x:.1f},{y + 6:.1f}L{x - 6:.1f},{y:.1f}Z",
    )
    return tag("path", name, d=shapes[index], class_=f"phase p{index}")


def _rates(generations: Sequence[Generation], begin: float, span: float) -> list[float]:
    """Evaluations a second in ``_BINS`` equal bins; each generation is spread over its time."""
    width = span / _BINS
    rates = [0.0] * _BINS
    for generation in generations:
        start = generation.finished_at - generation.seconds - begin
        stop = generation.finished_at - begin
        rate = generation.individuals / generation.seconds
        first = min(max(int(start / width), 0), _BINS - 1)
        last = min(max(int(stop / width), 0), _BINS - 1)
        for number in range(first, last + 1):
            overlap = min(stop, (number + 1) * width) - max(start, number * width)
            rates[number] += rate * max(overlap, 0.0) / width
    return rates


def _grid(marks: Sequence[float], y: Callable[[float], float], label: str) -> list[Markup]:
    parts = [tag("text", label, x=4, y=14, class_="axis")]
    for mark in marks:
        at = y(mark)
        parts.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(
            tag("text", f"{mark:,.0f}", x=_LEFT - 6, y=at + 4, class_="axis", text_anchor="end")
        )
    return parts


def _upright(x: float, bottom: float, label: str) -> list[Markup]:
    return [
        tag("line", x1=x, x2=x, y1=_TOP, y2=bottom, class_="grid"),
        tag("text", label, x=x, y=bottom + 18, class_="axis", text_anchor="middle"),
    ]
