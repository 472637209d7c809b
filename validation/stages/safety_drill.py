"""Faults that a guard must refuse, and one that it must undo, tried on a laboratory stack.

Only certification runs this. What the guard lets through has no receipt in the evidence, so that a
guard with a defect shows as a service that ended by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.fixtures.protocols import StackError
from evolution_gate.fixtures.ray.gcs import wait_until_true
from validation.safety.consent import EVERY_KIND, Consent
from validation.safety.guard import Guard, GuardError
from validation.safety.guarded_stack import GuardedStack

if TYPE_CHECKING:
    from validation.stages.context import Context

_SEEN_S: Final = 8.0
"""A paused node is given up after 4 s; the monitor looks every 2 s."""
_BACK_S: Final = 60.0


def drill(context: Context) -> None:
    """Ask for a kill without consent, and for one on an unsteady cluster; leave a pause behind."""
    stack = context.stack
    first, second, third = stack.nodes[:3]
    context.say(
        "guard: a kill without consent, one on an unsteady cluster, and a pause left behind"
    )
    with _guarded(context, Consent(kinds=frozenset({Capability.PAUSE}))) as safe:
        safe.nodes[0].kill()
    with _guarded(context, EVERY_KIND) as safe:
        safe.nodes[2].pause()
    time.sleep(_SEEN_S)
    # A node that still stands was given up by the cluster, and ends when it runs again.
    third.resume()
    time.sleep(_SEEN_S)
    first.start()
    third.start()
    context.outages.down(first.name)
    context.fault(first.kill())
    wait_until_true(lambda: first.name not in stack.alive_nodes(), time.time() + _BACK_S)
    with _guarded(context, EVERY_KIND) as safe, suppress(GuardError):
        safe.nodes[1].kill()
    time.sleep(_SEEN_S)
    context.fault(first.start())
    second.start()
    context.outages.up(first.name)


def _guarded(context: Context, consent: Consent) -> GuardedStack:
    stack = context.stack
    guard = Guard(
        consent,
        name="the laboratory stack",
        trouble=_trouble(context),
        others=tuple,
        add=context.add,
        say=context.say,
        seconds=2.0,
    )
    return GuardedStack(stack, guard)


def _trouble(context: Context) -> Callable[[], Sequence[str]]:
    names = {node.name for node in context.stack.nodes}

    def trouble() -> Sequence[str]:
        try:
            return sorted(names - context.stack.alive_nodes())
        except StackError as error:
            return [str(error)]

    return trouble
