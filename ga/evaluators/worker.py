"""What every worker process does with a batch, on this machine and on a cluster's nodes."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from ga.fitness import Batch, Settings, evaluate_batch
from ga.forks import let_go
from ga.genome import Genome
from ga.market import Market

_MEMORY: Final = 1 << 30
_MEMORY_A_BAR: Final = 1 << 13
_PR_SET_PDEATHSIG: Final = 1


def work(market: Market, settings: Settings, genomes: Sequence[Genome]) -> Batch:
    """Evaluate a batch within bounds: 1 GiB of memory, and 8 KiB a bar of an asset, beside what the
    process had before. A genome that wants more fails with "out of memory", alike everywhere,
    before the machine comes to an end of its own."""
    with _bounded(_MEMORY + _MEMORY_A_BAR * market.bars * len(market.assets)):
        return evaluate_batch(market, settings, genomes)


def serve(connection: Connection, market: Market, settings: Settings) -> None:
    """A pool's worker: say that it is up, then answer genomes with a ``Batch``, until the end."""
    # Ctrl-C belongs to the parent, which then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_go()
    _bind_to_parent()
    # What was loaded before the fork stays: looking it through for garbage would copy it, too.
    gc.freeze()
    connection.send(None)
    while True:
        try:
            columns = connection.recv()
        except EOFError:
            return
        # Sent by columns, as answers are: see ``Batch``.
        genomes = list(map(Genome._make, zip(*columns, strict=True)))
        connection.send(work(market, settings, genomes))


def _bind_to_parent() -> None:
    """Die with the process that forked us, which dies with the program, even while computing; and
    before them when memory runs out."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    Path("/proc/self/oom_score_adj").write_text("1000")


@contextmanager
def _bounded(extra: int) -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    data = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    set_already = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([data + extra, *set_already]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
