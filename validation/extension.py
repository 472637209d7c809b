"""Custom criteria, faults and applications, in one file: see docs/extending.md.

The file sets ``PLUGIN``. It is named on the command line (``--with FILE``, or
``python -m validation own FILE``), and its code runs with your rights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Final

from fixtures.protocols import Stack
from ga.errors import InputError
from validation.certificates import (
    HEALTHY,
    Certificate,
    append,
    code_hash,
    read_certificates,
)
from validation.contract import Criterion, CriterionPlugin, Injector, Mutant
from validation.criteria.registry import CRITERIA
from validation.decision import GateResult, decide
from validation.evidence.log import FILE, EvidenceWriter, read_evidence
from validation.evidence.records import register
from validation.monitors.cluster import ClusterMonitor, ExcusedOutages
from validation.monitors.harness import HarnessMonitor
from validation.stages.container_exits import record_container_exits
from validation.stages.context import Context
from validation.verdict import Status

NODES: Final = 2
_CPUS: Final = 0.4
_STEADY_SECONDS: Final = 60.0


def _nothing_planted(_: Context) -> AbstractContextManager[None]:
    return nullcontext()


def command_of(plugin: CriterionPlugin) -> str:
    """What measures its criteria."""
    return f"python -m validation {plugin.name if plugin.file is None else f'own {plugin.file}'}"


def code_of(plugin: CriterionPlugin) -> str:
    """What its certificates are bound to: its file's content, and the gate's code."""
    if plugin.file is None:
        return code_hash()
    return hashlib.sha256(code_hash().encode() + plugin.file.read_bytes()).hexdigest()


def load(path: Path) -> CriterionPlugin:
    """Load a custom file; its records can be written and read from then on.

    Raises:
        InputError: it is not there, cannot be imported, or does not set what it must.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; it must set PLUGIN, see docs/extending.md")
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
    plugin = getattr(module, "PLUGIN", None)
    if not isinstance(plugin, CriterionPlugin) or not plugin.criteria:
        raise InputError(
            f"{path}: must set PLUGIN to a CriterionPlugin with at least one criterion, see"
            " docs/extending.md"
        )
    known = [c.id for c in (*CRITERIA, *plugin.criteria)]
    if twice := sorted({one for one in known if known.count(one) > 1}):
        raise InputError(f"{path}: there is a criterion {twice[0]!r} already")
    if stray := [m.name for m in plugin.mutants if m.criterion not in known[len(CRITERIA) :]]:
        raise InputError(f"{path}: mutant {stray[0]!r} is of no criterion of this file")
    if bare := [m.name for m in plugin.mutants if m.injector is None]:
        raise InputError(f"{path}: mutant {bare[0]!r} has no injector")
    for record in plugin.records:
        register(record)
    return replace(plugin, file=path, name=path.stem)


def all_criteria(plugins: Sequence[CriterionPlugin]) -> tuple[Criterion, ...]:
    """The built-in criteria and the custom ones.

    Raises:
        InputError: two of them have the same id.
    """
    found = (*CRITERIA, *(c for plugin in plugins for c in plugin.criteria))
    if len({c.id for c in found}) < len(found):
        raise InputError("--with: two files have a criterion of the same id")
    return found


def valid_certificates(path: Path, plugins: Sequence[CriterionPlugin]) -> tuple[Certificate, ...]:
    """Certificates of the gate and of these files, as they are now."""
    return read_certificates(path, codes={code_hash(), *map(code_of, plugins)})


def run_plugin(
    plugin: CriterionPlugin,
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
        return _gathered(plugin, stack, seed=seed, folder=folder, say=say, planted=_nothing_planted)


def _gathered(
    plugin: CriterionPlugin,
    stack: Stack,
    *,
    seed: int,
    folder: Path,
    say: Callable[[str], None],
    planted: Injector,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path, outages, nodes = folder / FILE, ExcusedOutages(), len(stack.nodes)
    with EvidenceWriter(
        path,
        run=f"{plugin.name}-{time.time()}",
        seed=seed,
        backend=stack.backend,
        nodes=nodes,
        cpus_per_node=_CPUS,
        replay=f"{command_of(plugin)} --stack {stack.backend} --nodes {nodes} --replay {seed}",
    ) as writer:
        watch = ClusterMonitor(stack, writer, outages)
        watch.steady(_STEADY_SECONDS)
        context = Context(
            stack=stack, writer=writer, outages=outages, folder=folder, seed=seed, say=say
        )
        with HarnessMonitor(stack, writer), watch, planted(context):
            for stage in plugin.stages:
                stage.run(context)
        record_container_exits(stack, writer)
    return path


def evaluate(
    plugin: CriterionPlugin, path: Path, certificates: Sequence[Certificate] = ()
) -> GateResult:
    """The verdicts of a file's criteria on a record."""
    return decide([read_evidence(path)], criteria=plugin.criteria, certificates=certificates)


def certify_plugin(
    plugin: CriterionPlugin, path: Path, *, backend: str, force: bool, say: Callable[[str], None]
) -> tuple[Certificate, ...]:
    """Try the healthy system and each mutant of a file, as far as ``path`` has it not."""
    import fixtures

    mine, backend = {code_of(plugin)}, fixtures.backend_for(backend, say)
    kept = [c for c in read_certificates(path, codes=mine) if c.stack == backend]
    healthy = Mutant(name=HEALTHY, criterion="", injector=_nothing_planted)
    done = set() if force else {(c.criterion, c.defect) for c in kept}
    names = [c.id for c in plugin.criteria]
    left = [d for d in plugin.mutants if (d.criterion, d.name) not in done]
    fresh = [name for name in names if (name, HEALTHY) not in done]
    trials: list[tuple[Mutant, list[str]]] = [(healthy, fresh)] if fresh else []
    trials += [(mutant, [mutant.criterion]) for mutant in left]
    say(f"{len(trials)} trials of {plugin.file} to be made")
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
            for number, (mutant, asked) in enumerate(trials):
                say(f"planted: {mutant.name}")
                record = _gathered(
                    plugin,
                    stack,
                    seed=1,
                    folder=Path(place) / str(number),
                    say=say,
                    planted=mutant.injector or _nothing_planted,
                )
                result = evaluate(plugin, record)
                for name in asked:
                    _keep(plugin, path, mutant, name, result, stack.backend)
    found = read_certificates(path, codes=mine)
    return tuple(c for c in found if c.criterion in names and c.stack == backend)


def _keep(
    plugin: CriterionPlugin, path: Path, mutant: Mutant, name: str, result: GateResult, stack: str
) -> None:
    verdict = result.verdict(name)
    wanted = Status.FAIL.value if mutant.name == HEALTHY else mutant.expects
    append(
        path,
        Certificate(
            criterion=name,
            defect=mutant.name,
            detected=verdict.status.value == wanted,
            verdict=verdict.status.value,
            expected=Status.PASS.value if mutant.name == HEALTHY else mutant.expects,
            reason=verdict.reason,
            code=code_of(plugin),
            at=time.time(),
            stack=stack,
        ),
    )
