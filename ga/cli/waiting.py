"""Progress of commands that read a large ledger."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ga.ledger import Ledger
from ga.ledger.connection import snapshot
from ga.ledger.sizes import ledger_size
from ga.presentation import shown_bytes

LARGE: Final = 64 * 2**20
"""Bytes of a ledger that is read in less than two seconds."""
PAUSE: Final = 2.0


@contextmanager
def announced_if_large(ledger: Ledger) -> Iterator[None]:
    """While the block reads a large ledger, say so on stderr every two seconds."""
    with snapshot(ledger.engine) as connection:
        used = ledger_size(connection).used
    if used <= LARGE:
        yield
        return
    done = threading.Event()

    def tell() -> None:
        began = time.monotonic()
        while not done.wait(PAUSE):
            seconds = time.monotonic() - began
            print(f"reading a ledger of {shown_bytes(used)}: {seconds:.0f} s", file=sys.stderr)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
