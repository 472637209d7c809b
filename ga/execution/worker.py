"""Evaluation of a batch in a worker process, on this machine and on a cluster's nodes."""

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

import numpy as np

from ga.errors import MachineError
from ga.evaluation.evaluate import Batch, evaluate, evaluate_batch
from ga.evaluation.settings import OUT_OF_MEMORY, Outcome, Settings
from ga.execution.forkserver import detach_from_forkserver
from ga.execution.numerics_check import EXPECTED, digest, require
from ga.genome import Genome
from ga.market import Market

MEMORY: Final = 1 << 30
"""Bytes that an evaluation may take, whatever its market."""
_MEMORY_A_BAR: Final = 1 << 13
_PR_SET_PDEATHSIG: Final = 1


def work(market: Market, settings: Settings, genomes: Sequence[Genome]) -> Batch:
    """Evaluate a batch with a memory limit: 1 GiB plus 8 KiB per bar and asset, in addition to the
    process's memory before. A genome that needs more fails with "out of memory", equally on every
    machine and before the machine's memory is exhausted.

    Raises:
        MachineError: this process computes other bits, or an evaluation failed for another reason
            than its genome and market.
    """
    for family in {genome.family for genome in genomes}:
        if family in EXPECTED:
            require(family)
    allowance = MEMORY + _MEMORY_A_BAR * market.bars * len(market.assets)
    with _bounded(allowance):
        batch = evaluate_batch(market, settings, genomes)
        failed = [
            (genome, outcome)
            for genome, outcome in zip(genomes, batch.outcomes, strict=True)
            if outcome.error is not None
        ]
        for genome, outcome in failed:
            _confirm(market, settings, genome, outcome, allowance)
    return batch


def _confirm(
    market: Market, settings: Settings, genome: Genome, outcome: Outcome, allowance: int
) -> None:
    """Check that the genome causes the failure: the machine passes its check, and the genome fails
    again.
    """
    if outcome.error == OUT_OF_MEMORY:
        try:
            # The pages are not touched, so no physical memory is used.
            np.empty(allowance // 10 * 9, np.uint8)
        except MemoryError:
            raise MachineError(
                f"this machine cannot give an evaluation its {allowance >> 20:,} MiB of memory;"
                " free some, raise the limit (ulimit -d), or use fewer --workers"
            ) from None
    if genome.family in EXPECTED and digest.__wrapped__(genome.family) != EXPECTED[genome.family]:
        raise MachineError(f"{genome.family}: {outcome.error}, on a machine that fails its check")
    (again,) = evaluate(market, settings, [genome])
    if again != outcome:
        raise MachineError(
            f"{genome.family} failed here ({outcome.error}), but a repetition gave another result"
            f" ({again.error or 'a fitness'}); check this machine"
        )


def serve(connection: Connection, market: Market, settings: Settings) -> None:
    """Main loop of a pool's worker: report that it has started, then answer genomes with a
    ``Batch``.
    """
    # Ctrl-C belongs to the parent, which then ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    detach_from_forkserver()
    _bind_to_parent()
    # Freeze the modules loaded before the fork: a garbage collection would copy their memory pages.
    gc.freeze()
    connection.send(None)
    while True:
        try:
            columns = connection.recv()
        except EOFError:
            return
        # Genomes are sent by columns, like the results: see ``Batch``.
        genomes = list(map(Genome._make, zip(*columns, strict=True)))
        try:
            answer: Batch | MachineError = work(market, settings, genomes)
        except Exception as error:
            # Any error outside the evaluation of a genome is not caused by a genome. Sent as text,
            # because the receiver may not be able to load its type.
            answer = MachineError(fault_of(error))
        connection.send(answer)


def fault_of(error: Exception) -> str:
    """A fault of the machine as one line."""
    text = str(error) if isinstance(error, MachineError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _bind_to_parent() -> None:
    """Die with the clean process that forked us, which dies with the program, even while computing;
    and be the kernel's first choice when memory runs out.
    """
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
