"""Exit status of commands, and one-line error messages.

Standard library only: it runs before anything else is loaded.

Exit status: 0 done, 1 failed, 2 bad input, 128 + n ended by signal n (130: Ctrl-C), as in shells;
141 when the reader of a pipe is gone.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TextIO

from ga.cli.interrupts import Ended
from ga.errors import ClusterError, InputError, LedgerError, MachineError, OutputError
from ga.redaction import redact

if TYPE_CHECKING:
    from typing_extensions import Buffer

_READER_GONE: Final = 128 + signal.SIGPIPE
_REMEDIES: Final = {
    errno.ENOSPC: "make space",
    errno.EDQUOT: "make space",
    errno.EACCES: "check its rights, and those of its folder",
    errno.EPERM: "check its rights, and those of its folder",
    errno.EROFS: "it is mounted read-only; give another place",
    errno.ENOENT: "check that it exists",
    errno.ENOTDIR: "check its folder",
    errno.ELOOP: "it is a link to itself; give another",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise `ulimit -n`",
    errno.ENFILE: "close programs that have many files open",
    errno.EAGAIN: "raise `ulimit -u`, or end other processes",
    errno.ENOMEM: "end other processes, or give fewer --workers",
    errno.EIO: "check the disk",
}


def status_of(work: Callable[[], int], *, hint: Callable[[], str] = str) -> int:
    """Run ``work``; convert an error or signal to one line on stderr and an exit status.

    Args:
        hint: how to continue after an interrupt, if there is anything to continue.
    """
    failed: OSError | None = None
    try:
        status = work()
    except SystemExit as ended:
        # ``--help``: its text may still be in the buffer.
        status = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except InputError as error:
        say(str(error))
        status = 2
    except (ClusterError, LedgerError, MachineError, OutputError) as error:
        say(str(error))
        status = 1
    except KeyboardInterrupt as error:
        ended_by = error if isinstance(error, Ended) else Ended(signal.SIGINT)
        then = hint()
        say(ended_by.how + (f"; continue with: {then}" if then else ""))
        status = 128 + ended_by.number
        # Python 3.12.0 and 3.12.1 crash when they collect a frame that ended while it sent to
        # another process (python/cpython#111049).
        traceback.clear_frames(error.__traceback__)
    except OSError as error:
        failed, status = error, 1
    lost = _lost_streams()
    if failed is not None and not lost:
        say(line_of(failed))
    for name, reason in lost.items():
        _report_lost(name, reason)
        if status == 0 or failed is not None:
            status = _READER_GONE if reason.errno == errno.EPIPE else 1
    return status


def after_output(status: int, *, unwritten: int, prefix: str) -> int:
    """The exit status of a command that ended with ``status``, once its output is flushed.

    Args:
        unwritten: instead of ``status``, when an output could not be written. If the reader of a
            pipe is gone, it is 141.
        prefix: of the line on stderr that says so.
    """
    for name, reason in _lost_streams().items():
        _report_lost(name, reason, prefix)
        status = _READER_GONE if reason.errno == errno.EPIPE else unwritten
    return status


def _report_lost(name: str, reason: OSError, prefix: str = "ga:") -> None:
    """No line if the reader of a pipe is gone: ``| head`` is no failure."""
    if reason.errno != errno.EPIPE:
        remedy = "free some space, or redirect it"
        say(f"{name}: cannot be written ({reason.strerror}); {remedy}", prefix)


def say(text: str, prefix: str = "ga:") -> None:
    """Print exactly one line on stderr, even if a file name or message has several."""
    try:
        print(prefix, redact(" ".join(text.split())), file=sys.stderr, flush=True)
    except OSError:
        # stderr itself fails; only the exit status remains.
        _silence(sys.stderr)


def line_of(error: OSError) -> str:
    """One line with file, reason and remedy for an error of the operating system."""
    reason = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(n) for n in (error.filename, error.filename2) if n not in (None, "")]
    remedy = _REMEDIES.get(error.errno or 0)
    said = ": ".join([" to ".join(names), reason] if names else [reason])
    return f"{said}; {remedy}" if remedy else said


def open_standard_streams() -> None:
    """Open closed standard streams (``>&-``) on the null device. Otherwise a file opened later
    would get their number, and the output that libraries write to it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # ``open`` returns the lowest free number, which is this one.
            os.open(os.devnull, os.O_RDWR)


class _Watched(io.FileIO):
    """A standard stream that records the error of a failed write.

    The writer may get no error (a buffer), or suppress it (``argparse``), or its error may not name
    the file. Then the failure of this stream would be unknown.
    """

    lost: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """See ``FileIO``."""
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            raise


def watch_standard_streams() -> None:
    """From now on, record failed writes to stdout and stderr, and write any text to them.

    A name of a file may have bytes of no encoding, and a terminal may not have every character:
    these are written as escapes.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            raw = _Watched(stream.fileno(), "w", closefd=False)
            watched = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors="backslashreplace",
                # Unbuffered (``PYTHONUNBUFFERED``), each part of a line would be a separate write.
                line_buffering=stream.line_buffering or stream.write_through,
            )
            setattr(sys, name, watched)


def check_folder() -> None:
    """Refuse to work in a folder that was removed, because many libraries read the current folder.

    Raises:
        InputError: the folder was removed.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(
            f"the current folder cannot be used ({error.strerror}); change to one that exists"
        ) from None


def _lost_streams() -> dict[str, OSError]:
    """The standard streams whose writes failed; they are not written to again."""
    lost = {}
    for name, stream in (("stdout", sys.stdout), ("stderr", sys.stderr)):
        if stream is None or stream.closed:
            continue
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        error = raw.lost if isinstance(raw, _Watched) else None
        try:
            stream.flush()
        except OSError as found:
            error = error or found
        if error is not None:
            _silence(stream)
            lost[name] = error
            if isinstance(raw, _Watched):
                raw.lost = None
    return lost


def _silence(stream: TextIO) -> None:
    """Discard its buffer: otherwise the interpreter retries at exit and prints an error."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
