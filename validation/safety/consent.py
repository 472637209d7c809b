"""Consent to faults: which kinds, on which target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evolution_gate.fixtures.capabilities import FAULTS, Capability
from evolution_gate.fixtures.protocols import StackError

ALL: Final = "all"
NONE: Final = "none"
KINDS: Final = ", ".join(FAULTS)


@dataclass(frozen=True, kw_only=True)
class Consent:
    """The kinds of faults that the owner of a target allowed."""

    kinds: frozenset[Capability]

    def allows(self, kind: Capability) -> bool:
        """Whether a fault of this kind may be injected."""
        return kind in self.kinds


EVERY_KIND: Final = Consent(kinds=frozenset(FAULTS))


def consent_of(allowed: str | None, confirmed: str | None, *, target: str) -> Consent:
    """The consent that the options give for a target.

    Args:
        allowed: ``--allow-faults``: kinds with commas, ``all``, or ``none``.
        confirmed: ``--confirm``: the name of the target.

    Raises:
        StackError: there is none, it is for another target, or it names no kind of fault.
    """
    if confirmed is not None and confirmed != target:
        raise StackError(
            f"--confirm {confirmed}: the target is {target!r}, so nothing was broken; confirm that"
            " name, or choose the other target by --target"
        )
    if allowed is None:
        raise StackError(
            f"nothing of {target!r} is broken without consent: add --allow-faults {ALL} --confirm"
            f" {target}, see the faults first by --dry-run, or only watch by --allow-faults {NONE}"
        )
    if allowed == NONE:
        return Consent(kinds=frozenset())
    kinds = EVERY_KIND.kinds if allowed == ALL else frozenset(map(_kind, allowed.split(",")))
    if confirmed is None:
        raise StackError(
            f"--allow-faults {allowed}: nothing is broken before you name the target: add"
            f" --confirm {target}"
        )
    return Consent(kinds=kinds)


def _kind(text: str) -> Capability:
    found = next((kind for kind in FAULTS if kind == text.strip()), None)
    if found is None:
        raise StackError(f"--allow-faults {text}: no such fault; choose of {KINDS}, or {ALL}")
    return found
