"""Which stages of a campaign the named criteria need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from ga.errors import InputError
from validation.campaigns.run import START_SECONDS, Step
from validation.contract import Criterion, CriterionPlugin
from validation.stages.registry import STAGES


def require_known(only: Collection[str], criteria: Sequence[Criterion]) -> None:
    """Refuse a criterion that does not exist, or that no campaign can measure.

    Raises:
        InputError: it names the criterion and the remedy.
    """
    known = {criterion.id: criterion for criterion in criteria}
    for name in only:
        if name not in known:
            raise InputError(
                f"--only {name}: no such criterion; see: python -m validation criteria"
            )
        if known[name].soak_s > 0 and not stages_of([name]):
            raise InputError(
                f"--only {name}: no campaign is long enough; run: python -m validation soak"
            )


def stages_of(only: Collection[str]) -> tuple[str, ...]:
    """Names of the built-in stages that gather evidence for some criteria."""
    return tuple(name for name, stage in STAGES.items() if set(stage.feeds) & set(only))


def steps_for(only: Collection[str], steps: Sequence[Step]) -> list[Step]:
    """The steps of a campaign, in their order, without the stages that no named criterion needs.

    A stage brings those whose results it uses (``Stage.after``). A stage that is only named as the
    replacement of another one (``Step.instead``) is run for criteria that no other stage feeds. If
    none of them is watched, the stage ``watch`` is added.
    """
    feeding = set(stages_of(only))
    planned = {name for step in steps for name in (step.stage, *step.alongside)}
    wanted = feeding & planned
    left = set(only) - {criterion for name in wanted for criterion in STAGES[name].feeds}
    replacing = {step.instead for step in steps if step.instead} - planned
    wanted |= {name for name in feeding & replacing if left & set(STAGES[name].feeds)}
    wanted |= {before for name in wanted for before in _before(name)} & (planned | replacing)
    found = [one for step in steps for one in _needed(step, wanted)]
    return _with_watch(found, steps) if found else []


def with_custom(
    only: Collection[str], steps: Sequence[Step], plugins: Sequence[CriterionPlugin]
) -> list[Step]:
    """``steps_for``, and the stages of custom criteria where one of these is named."""
    found = steps_for(only, steps)
    if not any({criterion.id for criterion in one.criteria} & set(only) for one in plugins):
        return [replace(step, custom=False) for step in found]
    if any(step.custom for step in found):
        return found
    return _with_custom_last(_with_watch(found, steps))


def _with_custom_last(steps: Sequence[Step]) -> list[Step]:
    """The steps, with the stages of custom criteria after the last watched one."""
    last = max(number for number, step in enumerate(steps) if step.watched)
    return [
        replace(step, custom=True) if number == last else step for number, step in enumerate(steps)
    ]


def _with_watch(found: list[Step], steps: Sequence[Step]) -> list[Step]:
    """The steps, at least one of them watched: a run without monitors that is pooled with others
    would leave all criteria open that read them.
    """
    if any(step.watched for step in found):
        return found
    first = {step.stage for step in takewhile(lambda one: not one.watched, steps)}
    place = sum(step.stage in first for step in found)
    return [*found[:place], Step(stage="watch"), *found[place:]]


def _needed(step: Step, wanted: Collection[str]) -> Iterator[Step]:
    if step.instead in wanted:
        yield Step(stage=step.instead, watched=step.watched)
    names = [name for name in (step.stage, *step.alongside) if name in wanted]
    if names:
        yield replace(step, stage=names[0], alongside=tuple(names[1:]))


def _before(name: str) -> set[str]:
    direct = set(STAGES[name].after)
    return direct.union(*(_before(one) for one in direct))


def within(steps: Sequence[Step], seconds: float) -> list[Step]:
    """The steps of a campaign that fit into a time, by their declared durations.

    Of all selections that fit, it is one that feeds the most criteria; among these the one with the
    most stages' seconds. Each selection has a watched step, and what its stages need (``after``).

    Raises:
        InputError: not even one step fits.
    """
    if declared_seconds(steps) <= seconds:
        return list(steps)
    options = [_Option.of(step, steps) for step in steps]
    best: tuple[int, float, int] = (0, 0.0, 0)
    for chosen in range(1, 1 << len(options)):
        took = [one for number, one in enumerate(options) if chosen >> number & 1]
        used = sum(one.seconds for one in took)
        names = frozenset[str]().union(*(one.names for one in took))
        if (
            START_SECONDS + used <= seconds
            and any(one.step.watched for one in took)
            and all(one.before <= names for one in took)
        ):
            fed = frozenset[str]().union(*(one.criteria for one in took))
            best = max(best, (len(fed), used, chosen))
    if not best[0]:
        raise InputError(
            f"--time-budget {seconds / 60:g}: no stage fits; the whole campaign takes about"
            f" {declared_seconds(steps) / 60:.0f} minutes"
        )
    found = [one.step for number, one in enumerate(options) if best[2] >> number & 1]
    if any(step.custom for step in steps) and not any(step.custom for step in found):
        found = _with_custom_last(found)
    return found


@dataclass(frozen=True, kw_only=True)
class _Option:
    """A step that may be left out."""

    step: Step
    names: frozenset[str]
    criteria: frozenset[str]
    before: frozenset[str]
    """Stages of the campaign whose results it uses."""
    seconds: float

    @classmethod
    def of(cls, step: Step, steps: Sequence[Step]) -> _Option:
        names = (step.stage, *step.alongside)
        planned = {name: name for one in steps for name in (one.stage, *one.alongside)}
        # In place of this stage, the campaign has one that does the same and more.
        planned |= {one.instead: one.stage for one in steps if one.instead}
        before = {one for name in names for one in STAGES[name].after}
        return cls(
            step=step,
            names=frozenset(names),
            criteria=frozenset(one for name in names for one in STAGES[name].feeds),
            before=frozenset(planned[one] for one in before if one in planned),
            seconds=max(STAGES[name].seconds for name in names),
        )


def declared_seconds(steps: Sequence[Step]) -> float:
    """About how long a campaign of these steps takes, by what its stages declare."""
    return START_SECONDS + sum(
        max(STAGES[name].seconds for name in (step.stage, *step.alongside)) for step in steps
    )
