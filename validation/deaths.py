"""The container engine's word on what ended, written down."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from fixtures.container_deaths import Death
from fixtures.stack import Stack, StackError
from validation.evidence import Sink
from validation.records import Note
from validation.records_observer import Died


@runtime_checkable
class Mortal(Protocol):
    """A stack whose engine tells of every service that ends."""

    def deaths(self) -> tuple[Death, ...]:
        """Those so far, by the service's name."""
        ...


def died(stack: Stack, writer: Sink) -> None:
    """Every end of a service so far; nothing where no engine watches."""
    if not isinstance(stack, Mortal):
        return
    try:
        found = stack.deaths()
    except StackError as error:
        writer.add(Note(text=str(error)))
        return
    for death in found:
        writer.add(Died(service=death.container, exit_code=death.exit_code, at=death.at))
