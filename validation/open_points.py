"""What is still open for GO, grouped by cause, each with the command that closes it.

The terminal, ``status``, the Markdown summary, the page and JSON all show what ``open_for_go``
returns. A duration is that of the last finished run of the same command in the campaign log, or the
sum of what the stages declare; where neither is known there is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from validation.campaigns.lists import ATTACHED, FULL
from validation.campaigns.log import CampaignLog
from validation.campaigns.run import START_SECONDS
from validation.campaigns.selection import declared_seconds, steps_for
from validation.certificates import Certificate, stack_of, undetected
from validation.contract import Criterion, CriterionPlugin, Mutant
from validation.criteria.registry import CRITERIA
from validation.evidence.identity import SIMULATED
from validation.evidence.queries import OWN_STACKS
from validation.evidence.records_target import NotRun
from validation.soak.options import target_options
from validation.stages.registry import STAGES
from validation.verdict import Records, Status, Verdict, format_list, plural, span

_CAMPAIGN: Final = "pytest -m validation"
_GATE: Final = "python -m validation"


class Cause(StrEnum):
    """Why something is open, in the order in which it is shown."""

    FAILED = "FAIL"
    EVIDENCE = "evidence that does not count"
    CAPABILITY = "capability missing on the target"
    NOT_MEASURED = "not measured"
    NOISE = "inconclusive by noise, or by too few measurements"
    HOURS = "hours missing"
    CERTIFICATE = "not certified"


@dataclass(frozen=True, kw_only=True)
class OpenPoint:
    """One thing that is open."""

    criterion: str
    """Id of the criterion; empty: it concerns all of them."""
    text: str
    """What is open, and why."""


@dataclass(frozen=True, kw_only=True)
class OpenPoints:
    """Everything that is open for one cause, and how to close it."""

    cause: Cause
    points: tuple[OpenPoint, ...]
    commands: tuple[str, ...]
    """Commands that close it, in turn; empty: there is none yet, as ``before`` says."""
    before: str
    """What must be done before the commands; empty: nothing."""
    seconds: float | None
    """About how long the commands take; None: not known."""
    source: str
    """Where ``seconds`` comes from; empty: not known."""

    @property
    def duration(self) -> str:
        """How long it takes, in words, and by what."""
        return "not known" if self.seconds is None else f"about {span(self.seconds)}, {self.source}"

    @property
    def heading(self) -> str:
        """The cause, and how many points it has."""
        return f"{self.cause.value} ({len(self.points)})"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What the gate knows when it has judged every criterion."""

    criteria: tuple[Criterion, ...]
    """Those that GO needs."""
    verdicts: Mapping[str, Verdict]
    records: Records
    reservations: tuple[str, ...]
    certified: frozenset[str]
    certificates: tuple[Certificate, ...]
    mutants: tuple[Mutant, ...]
    campaigns: CampaignLog | None
    plugins: tuple[CriterionPlugin, ...] = ()


def open_for_go(standing: Standing) -> tuple[OpenPoints, ...]:
    """Everything that keeps the decision from GO; empty if it is GO."""
    found: dict[Cause, list[OpenPoint]] = {}
    for criterion in standing.criteria:
        verdict = standing.verdicts[criterion.id]
        if verdict.status is not Status.PASS:
            point = OpenPoint(criterion=criterion.id, text=_missing(verdict))
            found.setdefault(_cause(criterion, verdict, standing.records), []).append(point)
    for text in standing.reservations:
        found.setdefault(Cause.EVIDENCE, []).append(OpenPoint(criterion="", text=text))
    found[Cause.CERTIFICATE] = list(_uncertified(standing))
    close: Mapping[Cause, Callable[[Cause, list[OpenPoint], Standing], OpenPoints]] = {
        Cause.FAILED: partial(_measure, before="correct what failed"),
        Cause.EVIDENCE: partial(_measure, before=_SEE_REASON, whole=True),
        Cause.CAPABILITY: partial(_measure, before="give the target what it lacks, or consent"),
        Cause.NOT_MEASURED: _measure,
        Cause.NOISE: _measure,
        Cause.HOURS: _soak,
        Cause.CERTIFICATE: _certify,
    }
    return tuple(close[cause](cause, found[cause], standing) for cause in Cause if found.get(cause))


_SEE_REASON: Final = "where the reason names runs or a log, name these files, too; otherwise repeat"


def _missing(verdict: Verdict) -> str:
    """What failed, or what an open verdict needs; its reason is in the table of verdicts."""
    open_ = verdict.status is Status.INCONCLUSIVE and verdict.needs and not verdict.distrusted
    return f"needs {verdict.needs}" if open_ else verdict.reason


def _cause(criterion: Criterion, verdict: Verdict, records: Records) -> Cause:
    if verdict.status is Status.FAIL:
        return Cause.FAILED
    if verdict.distrusted or any(not record.closed for record in records):
        return Cause.EVIDENCE
    if any(criterion.id in one.criteria for record in records for one in record.all(NotRun)):
        return Cause.CAPABILITY
    if criterion.soak_s > 0:
        return Cause.HOURS
    return Cause.NOISE if verdict.measured else Cause.NOT_MEASURED


def _measure(
    cause: Cause,
    points: list[OpenPoint],
    standing: Standing,
    *,
    before: str = "",
    whole: bool = False,
) -> OpenPoints:
    """Close it by a campaign of the stages that these criteria need, or by the whole one.

    Args:
        before: What must be done before.
        whole: Whether the evidence of every criterion is in question.
    """
    names = [point.criterion for point in points if point.criterion]
    soaked = [c for c in standing.criteria if c.id in names and _only_soak(c)]
    names = [name for name in names if name not in {c.id for c in soaked}]
    whole = whole and any(not point.criterion for point in points)
    commands: list[str] = []
    seconds: float | None = 0.0
    source = _DECLARED
    if whole or names:
        command = _campaign(standing, () if whole else names)
        commands.append(command)
        seconds, source = _duration(command, standing, () if whole else names)
    if soaked:
        soak = _soak(cause, points, standing, criteria=soaked)
        commands += soak.commands
        both = seconds is not None and soak.seconds is not None
        seconds = (seconds or 0.0) + (soak.seconds or 0.0) if both else None
    return OpenPoints(
        cause=cause,
        points=tuple(points),
        commands=tuple(commands),
        before=before,
        seconds=seconds,
        source=source if seconds is not None else "",
    )


_NO_MUTANT: Final = "it has no mutant"
_DECLARED: Final = "by the declared durations of the stages"


def _only_soak(criterion: Criterion) -> bool:
    return criterion.soak_s > 0 and not any(criterion.id in s.feeds for s in STAGES.values())


def _campaign(standing: Standing, only: Sequence[str]) -> str:
    """The command of a campaign like that of the evidence, for these criteria alone."""
    words = shlex.split(_CAMPAIGN)
    for record in standing.records:
        command = _words(record.opening.replay)
        if command[: len(words)] == words:
            words = _without_seed(command)
            break
    else:
        backend = standing.records[0].opening.backend
        words += [f"--stack={backend}"] if backend in OWN_STACKS else _target(standing)
    for plugin in standing.plugins:
        if plugin.argument and plugin.argument not in words:
            words += ["--with", plugin.argument]
    return shlex.join([*words, *(word for name in only for word in ("--only", name))])


def _target(standing: Standing) -> list[str]:
    """The options by which the evidence's own command selects a deployed target."""
    found = (target_options(_words(record.opening.replay)) for record in standing.records)
    return next(filter(None, found), [])


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        # The text of a record is not a shell command in every case.
        return []


def _without_seed(command: Sequence[str]) -> list[str]:
    """A campaign's command without what changes from run to run, or selects criteria."""
    found, skip = [], False
    for word in command:
        if skip:
            skip = False
        elif word in ("--replay", "--seed", "--only"):
            skip = True
        else:
            found.append(word)
    return found


def _duration(command: str, standing: Standing, only: Sequence[str]) -> tuple[float | None, str]:
    """Seconds that a campaign takes, and by what they are known."""
    log = standing.campaigns
    for campaign in reversed(() if log is None else log.campaigns):
        if campaign.ended is None or campaign.ended.status != "finished":
            continue
        if campaign.ended_at is not None and _same(campaign.command, command):
            return campaign.ended_at - campaign.begun_at, f"as run {campaign.run} took"
    attached = standing.records[0].opening.backend not in {*OWN_STACKS, SIMULATED}
    steps = ATTACHED if attached and "--target" not in _words(command) else FULL
    built_in = {criterion.id for criterion in CRITERIA}
    seconds = declared_seconds(steps_for(only, steps) if only else steps)
    for plugin in standing.plugins:
        if not only or {c.id for c in plugin.criteria} & set(only) - built_in:
            seconds += sum(stage.seconds for stage in plugin.stages)
    return seconds, _DECLARED


def _same(command: str, other: str) -> bool:
    """Whether two campaigns do the same, apart from their seeds."""

    def key(text: str) -> tuple[list[str], list[str]]:
        words = _words(text)
        pairs = pairwise(words)
        only = sorted(name for option, name in pairs if option == "--only")
        return sorted(_without_seed(words)), only

    return key(command) == key(other)


def _soak(
    cause: Cause,
    points: list[OpenPoint],
    standing: Standing,
    *,
    criteria: Sequence[Criterion] | None = None,
) -> OpenPoints:
    """Close it by a soak; one that the evidence has is continued."""
    if criteria is None:
        names = {point.criterion for point in points}
        criteria = [one for one in standing.criteria if one.id in names]
    whole_s = max(one.soak_s for one in criteria)
    backend = standing.records[0].opening.backend
    more = [standing.verdicts[one.id].more_s for one in criteria]
    soaks = [record.source for record in standing.records if Path(record.source).is_dir()]
    before, commands = "", [*_GATE.split(), "soak", "--hours", f"{whole_s / 3600:g}"]
    seconds: float | None = whole_s
    target = _target(standing)
    if backend not in {*OWN_STACKS, SIMULATED} and not (target or soaks):
        before = "add the options of the target: --target or --address"
    if soaks and cause is Cause.HOURS:
        commands += ["--resume", "--out", soaks[-1]]
        known = [one for one in more if one is not None]
        seconds = max(known) if len(known) == len(more) else None
    elif backend in OWN_STACKS:
        commands += ["--stack", backend]
    else:
        commands += target
    return OpenPoints(
        cause=cause,
        points=tuple(points),
        commands=(shlex.join(commands),) if commands else (),
        before=before,
        seconds=seconds,
        source="" if seconds is None else "the hours that must be watched",
    )


def _uncertified(standing: Standing) -> Iterator[OpenPoint]:
    left = _undetected(standing)
    for criterion in standing.criteria:
        if criterion.id in standing.certified:
            continue
        names = [mutant.name for mutant in left if mutant.criterion == criterion.id]
        text = f"{plural(len(names), 'mutant')} not certified: {format_list(names)}"
        text = text if names else _NO_MUTANT
        yield OpenPoint(criterion=criterion.id, text=text)


def _undetected(standing: Standing) -> tuple[Mutant, ...]:
    first = standing.records[0].opening
    return undetected(
        standing.certificates, standing.mutants, backend=first.backend, at=first.started_at
    )


def _certify(cause: Cause, points: list[OpenPoint], standing: Standing) -> OpenPoints:
    backend = standing.records[0].opening.backend
    names = [point.criterion for point in points]
    custom = {c.id: plugin for plugin in standing.plugins for c in plugin.criteria}
    left = [one for one in _undetected(standing) if one.criterion in names]
    commands: list[str] = []
    seconds = 0.0
    for stack in ("processes", "containers"):
        here = [m for m in left if m.criterion not in custom and stack_of(m, backend) == stack]
        chosen = [name for name in names if any(m.criterion == name for m in here)]
        if chosen:
            every = {c.id for c in CRITERIA} <= set(chosen)
            extra = ["--stack", stack] if stack == "containers" else []
            commands.append(
                shlex.join([*_GATE.split(), "certify", *([] if every else chosen), *extra])
            )
            seconds += _trial_seconds(here)
    for plugin in dict.fromkeys(custom[name].argument for name in names if name in custom):
        commands.append(shlex.join([*_GATE.split(), "certify", "--with", plugin]))
        own = next(one for one in standing.plugins if one.argument == plugin)
        each = sum(stage.seconds for stage in own.stages)
        seconds += START_SECONDS + each * (1 + len(own.mutants))
    without = [point.criterion for point in points if point.text == _NO_MUTANT]
    return OpenPoints(
        cause=cause,
        points=tuple(points),
        commands=tuple(commands),
        before=f"write a mutant for {', '.join(without)}" if without else "",
        seconds=seconds if commands else None,
        source=_DECLARED if commands else "",
    )


def _trial_seconds(mutants: Sequence[Mutant]) -> float:
    """What trials of some mutants take: their stages, those of the healthy system, and starts of a
    stack. The soak is simulated, and takes none.
    """
    healthy = {name for mutant in mutants for name in mutant.stages if name in STAGES}
    trials = [name for mutant in mutants for name in mutant.stages if name in STAGES]
    starts = 1 + sum(mutant.irreversible for mutant in mutants)
    return START_SECONDS * starts + sum(STAGES[name].seconds for name in [*healthy, *trials])


def as_objects(found: Sequence[OpenPoints]) -> list[dict[str, object]]:
    """The groups as JSON-serialisable values."""
    return [
        {
            "cause": group.cause.value,
            "points": [{"criterion": p.criterion, "text": p.text} for p in group.points],
            "before": group.before,
            "commands": list(group.commands),
            "seconds": group.seconds,
            "duration": group.duration,
        }
        for group in found
    ]


def as_lines(found: Sequence[OpenPoints]) -> list[str]:
    """The groups as text, a line each: cause, points, then the command and its duration."""
    lines = []
    for group in found:
        lines.append(f"{group.heading}:")
        lines += [f"  {p.criterion or 'all criteria'}: {p.text}" for p in group.points]
        if group.before:
            lines.append(f"  first: {group.before}")
        lines += [f"  $ {command}" for command in group.commands]
        lines.append(f"  duration: {group.duration}")
    return lines
