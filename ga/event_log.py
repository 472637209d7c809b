"""The log of a run: one JSON object a line, for other programs."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import IO, Self

from ga.errors import InputError, OutputError
from ga.files import append_lines
from ga.redaction import redact


class BatchLog:
    """Append-only JSON Lines of the events of a run, for external consumers.

    Every line contains ``event``, the time and ``run``.
    """

    def __init__(self, path: Path | None, run: str | None = None) -> None:
        self._run, self._path = run, path
        # The committer and the cache write from separate threads.
        self._lock = threading.Lock()
        try:
            self._file: IO[str] | None = None if path is None else append_lines(path)
        except OSError as error:
            raise InputError(
                f"--log {path}: cannot be written ({error.strerror}); give a file in a folder"
                " that exists"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **fields: object) -> None:
        """Write one event.

        Raises:
            OutputError: it cannot be written, for example on a full volume; later events are
                dropped.
        """
        if self._file is not None:
            line = {"event": event, "at": time.time(), "run": self._run, **fields}
            with self._lock:
                self._append(json.dumps(line) + "\n")

    def _append(self, line: str) -> None:
        file = self._file
        if file is None:
            return
        try:
            file.write(line)
        except OSError as error:
            self._file = None
            with contextlib.suppress(OSError):
                # ``close`` tries again to write the buffer.
                file.close()
            raise OutputError(
                f"--log {self._path}: cannot be written ({error.strerror}); make space, or give"
                f" another file, then: python -m ga resume {self._run}"
            ) from None

    def warn(self, event: str, text: str) -> None:
        """Write an event and also print it on stderr for the user."""
        text = redact(text)
        self.write(event, level="warning", text=text)
        print(f"ga: {text}", file=sys.stderr)
