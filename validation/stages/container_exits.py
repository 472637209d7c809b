"""Record the container exits that the container engine reports."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from evolution_gate.fixtures.backends.container.exit_events import Death
from evolution_gate.fixtures.protocols import Stack, StackError
from validation.evidence.log import Sink
from validation.evidence.records import Note
from validation.evidence.records_self_check import ContainerExit


@runtime_checkable
class ReportsContainerExits(Protocol):
    """A stack whose container engine reports every exit of a service."""

    def deaths(self) -> tuple[Death, ...]:
        """Exits so far, by the service's name."""
        ...


def record_container_exits(stack: Stack, writer: Sink) -> None:
    """Record every exit so far; does nothing for a stack without a container engine."""
    if not isinstance(stack, ReportsContainerExits):
        return
    try:
        found = stack.deaths()
    except StackError as error:
        writer.add(Note(text=str(error)))
        return
    for death in found:
        writer.add(ContainerExit(service=death.container, exit_code=death.exit_code, at=death.at))
