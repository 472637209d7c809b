"""Errors that a user can fix."""

from __future__ import annotations


class GaError(Exception):
    """Base of all errors of the engine; the message is one line that says what to do."""


class InputError(GaError, ValueError):
    """Bad input: one line that names the file or option, and what to do. The CLI exits with 2."""


class ClusterError(GaError, RuntimeError):
    """The Ray cluster cannot be reached or was lost; the message says what to do."""


class LedgerError(GaError, RuntimeError):
    """The ledger is unavailable or damaged, or another process owns the run now; the message says
    what to do.
    """


class MachineError(GaError, RuntimeError):
    """This machine cannot evaluate: it computes other bits, or a library, a file or its memory
    fails. It is never recorded as an outcome of a genome; the message says what to do.
    """


class OutputError(GaError, RuntimeError):
    """An output cannot be written; the message says what to do."""
