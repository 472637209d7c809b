"""The guard of a deployed target: it lets faults through, one at a time, and undoes what is left.

Every fault passes ``inject``, and its undo ``restore``. A fault without consent is refused. Before
each, the target must be in its steady state, and no job of somebody else may run; otherwise the
campaign stops. Whatever ends the campaign, ``close`` undoes what is still broken.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from evolution_gate.fixtures.capabilities import Capability
from evolution_gate.fixtures.protocols import Receipt, StackError, receipt
from evolution_gate.fixtures.system import termination
from evolution_gate.fixtures.system.polling import wait
from validation.evidence.base import Record
from validation.evidence.records_target import GuardEvent, GuardWord
from validation.safety.consent import Consent
from validation.stages.fault_records import as_fault

STEADY_SECONDS: Final = 120.0
_EVERY: Final = 0.5
LOUD: Final = "!!! NOT UNDONE"


class GuardError(StackError):
    """The campaign must stop: breaking more could do damage."""


@dataclass(frozen=True, kw_only=True)
class _Broken:
    fault: str
    undo: Callable[[], Receipt]


class Guard:
    """See the module. A context manager: leaving it undoes everything.

    Args:
        name: Of the target.
        trouble: What keeps the target from its steady state now; empty: nothing.
        others: Jobs of somebody else that run now, which faults could end.
        add: Writes evidence.
        say: Progress, a line at a time.
        seconds: How long a steady state is waited for.
    """

    def __init__(
        self,
        consent: Consent,
        *,
        name: str,
        trouble: Callable[[], Sequence[str]],
        others: Callable[[], Sequence[str]],
        add: Callable[[Record], None],
        say: Callable[[str], None],
        seconds: float = STEADY_SECONDS,
    ) -> None:
        self._consent, self._name = consent, name
        self._trouble, self._others, self._seconds = trouble, others, seconds
        self._add, self._say = add, say
        self._lock = threading.RLock()
        self._broken: dict[str, _Broken] = {}
        self._injected = self._closed = False

    def inject(
        self,
        kind: Capability,
        fault: str,
        target: str,
        do: Callable[[], Receipt],
        undo: Callable[[], Receipt] | None,
    ) -> Receipt:
        """Inject a fault, or refuse it: then its receipt is unconfirmed.

        Args:
            undo: None: it ends by itself.

        Raises:
            GuardError: the target is not in its steady state, or somebody else uses it.
        """
        with self._lock:
            if why := self._forbids(kind, target):
                return self._refused(fault, target, why)
            if target not in self._broken:
                # What is broken already may be broken further: a node that drains is then killed.
                self._require_steady(fault, target)
                self._require_alone(fault, target)
            self._injected = True
            if undo is not None:
                # Before it is done: a signal may come in between.
                self._broken[target] = _Broken(fault=fault, undo=undo)
            return do()

    def inject_all(
        self,
        kind: Capability,
        fault: str,
        do: Callable[[], Sequence[Receipt]],
        undo: Mapping[str, Callable[[], Receipt]],
    ) -> Sequence[Receipt]:
        """Inject one fault into several parts at once, or refuse it for each of them.

        Args:
            undo: Part to its undo, in the order in which they are undone.

        Raises:
            GuardError: as ``inject``.
        """
        with self._lock:
            if why := self._forbids(kind, ""):
                return [self._refused(fault, target, why) for target in undo]
            self._require_steady(fault, self._name)
            self._require_alone(fault, self._name)
            self._injected = True
            for target, back in reversed([*undo.items()]):
                self._broken[target] = _Broken(fault=fault, undo=back)
            return do()

    def restore(self, target: str, undo: Callable[[], Receipt]) -> Receipt:
        """Undo a fault; without a confirmation it stays open, and ``close`` tries again."""
        with self._lock:
            found = undo()
            if found.confirmed:
                self._broken.pop(target, None)
            return found

    def close(self) -> None:
        """Undo what is still broken, the last first, and wait for the steady state."""
        with termination.undisturbed():
            # A thread of an interrupted campaign may still want to break something.
            self._closed = True
            for target, broken in reversed(list(self._broken.items())):
                self._undo(target, broken)
            self._broken.clear()
            if self._injected and not wait(self._steady, self._seconds, every=_EVERY):
                what = "; ".join(self._now()) or "it changes all the time"
                self._event("unsteady", "", self._name, what)
                self._say(
                    f"!!! NOT STEADY: {self._name} did not return to its steady state in"
                    f" {self._seconds:.0f} s: {what}"
                )
            self._injected = False
            termination.settled(self.close)

    def __enter__(self) -> Self:
        termination.owe(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _undo(self, target: str, broken: _Broken) -> None:
        self._say(f"undoing the {broken.fault} of {target}")
        try:
            found = broken.undo()
        except Exception as error:
            # Nothing may keep the others from being undone.
            why = f"{type(error).__name__}: {error}"
        else:
            self._add(as_fault(found, None))
            why = "" if found.confirmed else found.detail or "it was not confirmed"
        if not why:
            self._event("undone", broken.fault, target, "")
            return
        self._event("not undone", broken.fault, target, why)
        self._say(f"{LOUD}: {broken.fault} of {target} on {self._name}: {why}")

    def _forbids(self, kind: Capability, target: str) -> str:
        """Why a fault of the target is refused; empty: it is not."""
        if self._closed:
            return "the campaign has ended"
        if not self._consent.allows(kind):
            return f"no consent: --allow-faults does not name {kind}"
        other = [name for name in self._broken if name != target]
        return f"{other[0]} is still broken, and one at a time is allowed" if other else ""

    def _require_steady(self, fault: str, target: str) -> None:
        if wait(self._steady, self._seconds, every=_EVERY):
            return
        what = "; ".join(self._now()) or "it changes all the time"
        self._stop(
            fault,
            target,
            f"{self._name} did not come to its steady state in {self._seconds:.0f} s: {what}",
        )

    def _require_alone(self, fault: str, target: str) -> None:
        if jobs := self._others():
            self._stop(fault, target, others_text(self._name, jobs))

    def _stop(self, fault: str, target: str, why: str) -> None:
        self._event("stopped", fault, target, why)
        raise GuardError(f"no {fault} of {target}: {why}")

    def _steady(self) -> bool:
        return not self._now()

    def _now(self) -> Sequence[str]:
        try:
            return self._trouble()
        except Exception as error:
            # Who cannot look does not know that all is well; and what is broken must be undone.
            return [f"its state is not known: {type(error).__name__}: {error}"]

    def _refused(self, fault: str, target: str, why: str) -> Receipt:
        self._event("refused", fault, target, why)
        return receipt(fault, target, time.time(), {}, {}, confirmed=False, detail=why)

    def _event(self, event: GuardWord, fault: str, target: str, detail: str) -> None:
        self._add(
            GuardEvent(event=event, fault=fault, target=target, detail=detail, at=time.time())
        )


def others_text(name: str, jobs: Sequence[str]) -> str:
    """The refusal because of other jobs, with the remedy."""
    what = "another job runs" if len(jobs) == 1 else f"{len(jobs)} other jobs run"
    more = f" and {len(jobs) - 2} more" if len(jobs) > 2 else ""
    return (
        f"{what} on {name} ({', '.join(jobs[:2])}{more}): wait for the end, or add"
        " --allow-other-jobs"
    )
