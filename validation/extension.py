"""Criteria, faults and applications of your own, in one file: see docs/extending.md.

The file sets ``OWN``. It is named on the command line (``--with FILE``, or ``python -m validation
own FILE``), and its code runs as yours does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from fixtures.protocols import Receipt, Stack
from ga.errors import InputError
from validation.certificates import (
    HEALTHY,
    Certificate,
    append,
    code_hash,
    read_certificates,
)
from validation.criteria.registry import CRITERIA, Criterion
from validation.decision import GateResult, decide
from validation.evidence.base import Record
from validation.evidence.log import FILE, EvidenceWriter, Sink, read_evidence
from validation.evidence.records import register
from validation.monitors.cluster import Outages, Watch
from validation.monitors.harness import Observe
from validation.stages.container_exits import died
from validation.stages.fault_records import as_fault
from validation.verdict import Status

NODES: Final = 2
_CPUS: Final = 0.4
_STEADY_SECONDS: Final = 60.0
_OWN: Final = 0x0914


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What ``gather`` works on: a running stack, and the record that it writes to."""

    stack: Stack
    writer: Sink
    outages: Outages
    """To be told of a node that is about to be taken down, and that it is back."""
    folder: Path
    """For logs; it is kept."""
    seed: int
    say: Callable[[str], None]
    """Told, in one line, what is going on."""
    _dice: list[np.random.Generator] = field(default_factory=list, repr=False)

    @property
    def dice(self) -> np.random.Generator:
        """Random numbers of the run's seed: a schedule drawn from them is repeated by --replay."""
        if not self._dice:
            key = [self.seed, _OWN]
            self._dice.append(np.random.Generator(np.random.Philox(key=key)))
        return self._dice[0]

    def add(self, record: Record) -> None:
        """Write one record."""
        self.writer.add(record)

    def fault(self, receipt: Receipt, *, workload: str | None = None) -> Receipt:
        """Write a fault, or its undo, with its receipt; an unconfirmed one rules out a PASS."""
        self.writer.add(as_fault(receipt, workload))
        return receipt

    def application(
        self, code: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a program that uses the cluster, where such a program belongs.

        ``sys.argv[1]`` is the address of the cluster; ``arguments`` come after it.
        """
        argv = [sys.executable, "-c", code, self.stack.endpoints.ray, *arguments]
        return self.stack.driver(argv, {**self.stack.endpoints.env, **(env or {})})


def _nothing_planted(_ground: Ground) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True, kw_only=True)
class OwnDefect:
    """A defect of your own: the gate must notice it, else the criterion blocks GO."""

    name: str
    criterion: str
    planted: Callable[[Ground], AbstractContextManager[None]]
    """The defect is there inside of it."""
    expects: str = Status.FAIL.value
    """INCONCLUSIVE where the system is well and evidence is taken away."""


@dataclass(frozen=True, kw_only=True)
class Own:
    """What a file of your own adds."""

    criteria: tuple[Criterion, ...]
    records: tuple[type[Record], ...] = ()
    """Kinds of evidence that only these criteria know."""
    gather: Callable[[Ground], None]
    """Work, break, look, and write what was seen; it decides nothing."""
    defects: tuple[OwnDefect, ...] = ()
    file: Path | None = None
    """Set when it is loaded; None: it is part of the gate."""
    name: str = ""

    @property
    def command(self) -> str:
        """What measures it."""
        return f"python -m validation {self.name if self.file is None else f'own {self.file}'}"

    @property
    def code(self) -> str:
        """Certificates of it are bound to this: its file's content, and the gate's code."""
        if self.file is None:
            return code_hash()
        return hashlib.sha256(code_hash().encode() + self.file.read_bytes()).hexdigest()


def load(path: Path) -> Own:
    """Read a file of your own; its records can be written and read from then on.

    Raises:
        InputError: it is not there, cannot be imported, or does not set what it must.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it must set OWN, see docs/extending.md")
    name = f"validation_own_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    own = getattr(module, "OWN", None)
    if not isinstance(own, Own) or not own.criteria:
        raise InputError(f"{path}: must set OWN to an Own with at least one criterion")
    known = [c.id for c in (*CRITERIA, *own.criteria)]
    if twice := sorted({one for one in known if known.count(one) > 1}):
        raise InputError(f"{path}: there is a criterion {twice[0]!r} already")
    if stray := [d.name for d in own.defects if d.criterion not in known[len(CRITERIA) :]]:
        raise InputError(f"{path}: defect {stray[0]!r} is of no criterion of this file")
    for record in own.records:
        register(record)
    return Own(
        criteria=own.criteria,
        records=own.records,
        gather=own.gather,
        defects=own.defects,
        file=path,
        name=path.stem,
    )


def together(owns: Sequence[Own]) -> tuple[Criterion, ...]:
    """The gate's criteria and those of your own.

    Raises:
        InputError: two of them have the same id.
    """
    found = (*CRITERIA, *(c for own in owns for c in own.criteria))
    if len({c.id for c in found}) < len(found):
        raise InputError("--with: two files have a criterion of the same id")
    return found


def kept(path: Path, owns: Sequence[Own]) -> tuple[Certificate, ...]:
    """Certificates of the gate and of these files, as they are now."""
    return read_certificates(path, codes={code_hash(), *(own.code for own in owns)})


def measure(
    own: Own,
    *,
    nodes: int,
    backend: str,
    seed: int | None,
    folder: Path,
    say: Callable[[str], None],
) -> Path:
    """Start a stack, gather, and close the record; its path."""
    import fixtures

    seed = secrets.randbelow(2**31) if seed is None else seed
    say(f"seed {seed}; evidence goes to {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    with fixtures.start_stack(
        nodes=nodes, cpus_per_node=_CPUS, backend=backend, shared=folder, on_progress=say
    ) as stack:
        return _gathered(own, stack, seed=seed, folder=folder, say=say, planted=_nothing_planted)


def _gathered(
    own: Own,
    stack: Stack,
    *,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
    planted: Callable[[Ground], AbstractContextManager[None]],
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path, outages, nodes = folder / FILE, Outages(), len(stack.nodes)
    with EvidenceWriter(
        path,
        run=f"{own.name}-{time.time()}",
        seed=seed,
        backend=stack.backend,
        nodes=nodes,
        cpus_per_node=_CPUS,
        replay=f"{own.command} --stack {stack.backend} --nodes {nodes} --replay {seed}",
    ) as writer:
        watch = Watch(stack, writer, outages)
        watch.steady(_STEADY_SECONDS)
        ground = Ground(
            stack=stack, writer=writer, outages=outages, folder=folder, seed=seed, say=say
        )
        with Observe(stack, writer), watch, planted(ground):
            own.gather(ground)
        died(stack, writer)
    return path


def judged(own: Own, path: Path, certificates: Sequence[Certificate] = ()) -> GateResult:
    """What the criteria of a file say of a record."""
    return decide([read_evidence(path)], criteria=own.criteria, certificates=certificates)


def certify_own(
    own: Own, path: Path, *, backend: str, anew: bool, say: Callable[[str], None]
) -> tuple[Certificate, ...]:
    """Try the healthy system and each defect of a file, as far as ``path`` has it not."""
    import fixtures

    mine, backend = {own.code}, fixtures.backend_for(backend, say)
    kept = [c for c in read_certificates(path, codes=mine) if c.stack == backend]
    healthy = OwnDefect(name=HEALTHY, criterion="", planted=_nothing_planted, expects="PASS")
    done = set() if anew else {(c.criterion, c.defect) for c in kept}
    names = [c.id for c in own.criteria]
    left = [d for d in own.defects if (d.criterion, d.name) not in done]
    fresh = [name for name in names if (name, HEALTHY) not in done]
    trials: list[tuple[OwnDefect, list[str]]] = [(healthy, fresh)] if fresh else []
    trials += [(defect, [defect.criterion]) for defect in left]
    say(f"{len(trials)} trials of {own.file} to be made")
    if trials:
        with (
            tempfile.TemporaryDirectory(prefix="ga-own-") as place,
            fixtures.start_stack(
                nodes=NODES,
                cpus_per_node=_CPUS,
                backend=backend,
                shared=Path(place),
                on_progress=say,
            ) as stack,
        ):
            for number, (defect, asked) in enumerate(trials):
                say(f"planted: {defect.name}")
                record = _gathered(
                    own,
                    stack,
                    seed=1,
                    folder=Path(place) / str(number),
                    say=say,
                    planted=defect.planted,
                )
                result = judged(own, record)
                for name in asked:
                    _keep(own, path, defect, name, result, stack.backend)
    found = read_certificates(path, codes=mine)
    return tuple(c for c in found if c.criterion in names and c.stack == backend)


def _keep(
    own: Own, path: Path, defect: OwnDefect, name: str, result: GateResult, stack: str
) -> None:
    verdict = result.verdict(name)
    wanted = Status.FAIL.value if defect.name == HEALTHY else defect.expects
    append(
        path,
        Certificate(
            criterion=name,
            defect=defect.name,
            detected=verdict.status.value == wanted,
            verdict=verdict.status.value,
            expected=defect.expects,
            reason=verdict.reason,
            code=own.code,
            at=time.time(),
            stack=stack,
        ),
    )
