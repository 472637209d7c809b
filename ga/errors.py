"""Errors that a user can fix."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: one line that names the file or option, and what to do. The CLI exits with 2."""


class ClusterError(RuntimeError):
    """The Ray cluster cannot be reached or was lost; the message says what to do."""


class LedgerError(RuntimeError):
    """The ledger is unavailable or damaged, or another process owns the run now; the message says
    what to do.
    """


class MachineError(RuntimeError):
    """This machine cannot evaluate: it computes other bits, or a library, a file or its memory
    fails. It is never recorded as an outcome of a genome; the message says what to do.
    """


class OutputError(RuntimeError):
    """An output cannot be written; the message says what to do."""
