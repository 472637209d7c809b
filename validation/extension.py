"""Custom criteria, faults and applications, in one file: see docs/extending.md.

The file sets ``PLUGIN``. It is named on the command line (``--with FILE``, or
``python -m validation own FILE``), and its code runs with your rights. ``plugin_loading``
loads it.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from evolution_gate.fixtures.protocols import Stack
from ga.errors import InputError
from validation.campaigns.log import gathering, log_of, logged
from validation.certificates import (
    HEALTHY,
    Certificate,
    append,
    known_certificates,
    read_certificates,
)
from validation.code_hashes import code_hash
from validation.contract import Criterion, CriterionPlugin, Injector, Mutant
from validation.criteria.registry import CRITERIA, MUTANTS
from validation.decision import GateResult, decide
from validation.evidence.identity import facts_of
from validation.evidence.log import FILE, EvidenceWriter, read_evidence
from validation.evidence.records import Environment
from validation.monitors.cluster import ClusterMonitor, ExcusedOutages
from validation.monitors.harness import HarnessMonitor
from validation.plugin_loading import digests_of
from validation.stages.container_exits import record_container_exits
from validation.stages.context import Context
from validation.stages.environment import environment
from validation.verdict import Status

NODES: Final = 2
_CPUS: Final = 0.4
_STEADY_SECONDS: Final = 60.0


def _nothing_planted(_: Context) -> AbstractContextManager[None]:
    return nullcontext()


def command_of(plugin: CriterionPlugin) -> str:
    """The command that measures its criteria."""
    own = plugin.name if plugin.file is None else f"own {plugin.argument}"
    return f"python -m validation {own}"


def code_of(plugin: CriterionPlugin) -> str:
    """The hash that its certificates are bound to: of the file's content and the gate's code."""
    if plugin.file is None:
        return code_hash()
    return hashlib.sha256(code_hash().encode() + plugin.file.read_bytes()).hexdigest()


def all_criteria(plugins: Sequence[CriterionPlugin]) -> tuple[Criterion, ...]:
    """The built-in criteria and the custom ones.

    Raises:
        InputError: two of them have the same id.
    """
    found = (*CRITERIA, *(c for plugin in plugins for c in plugin.criteria))
    if len({c.id for c in found}) < len(found):
        raise InputError("--with: two files define a criterion with the same id")
    return found


def all_mutants(plugins: Sequence[CriterionPlugin]) -> tuple[Mutant, ...]:
    """The mutants of the built-in criteria and of the custom ones."""
    return (*MUTANTS, *(mutant for plugin in plugins for mutant in plugin.mutants))


def codes_of(plugins: Sequence[CriterionPlugin]) -> frozenset[str]:
    """The hashes that certificates of the gate and of these files are bound to."""
    return frozenset({code_hash(), *map(code_of, plugins)})


def valid_certificates(
    path: Path, plugins: Sequence[CriterionPlugin], content: bytes | None = None
) -> tuple[Certificate, ...]:
    """Certificates that are valid for the current gate and these files, with those of the
    release.

    Args:
        path: The file of certificates.
        plugins: The custom files.
        content: What the file holds; None: read it.
    """
    return known_certificates(path, codes=codes_of(plugins), content=content)


def run_plugin(
    plugin: CriterionPlugin,
    *,
    nodes: int,
    backend: str,
    seed: int | None,
    folder: Path,
    say: Callable[[str], None],
) -> Path:
    """Start a stack, gather evidence, and close the record; returns its path."""
    from evolution_gate import fixtures

    seed = secrets.randbelow(2**31) if seed is None else seed
    folder.mkdir(parents=True, exist_ok=True)
    run, log = f"{plugin.name}-{time.time()}", log_of(folder / FILE)
    command = f"{command_of(plugin)} --stack {backend} --nodes {nodes} --replay {seed}"
    facts = {"nodes": nodes, "cpus_per_node": _CPUS, **facts_of(environment())}
    with logged(log, run, evidence=folder / FILE, command=command, system=facts):
        say(f"seed {seed}; evidence goes to {folder}")
        with fixtures.start_stack(
            nodes=nodes, cpus_per_node=_CPUS, backend=backend, shared=folder, on_progress=say
        ) as stack:
            gathering(log, run, {"backend": stack.backend})
            return _gathered(
                plugin, stack, run, seed=seed, folder=folder, say=say, planted=_nothing_planted
            )


def _gathered(
    plugin: CriterionPlugin,
    stack: Stack,
    run: str,
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
        run=run,
        seed=seed,
        backend=stack.backend,
        nodes=nodes,
        cpus_per_node=_CPUS,
        replay=f"{command_of(plugin)} --stack {stack.backend} --nodes {nodes} --replay {seed}",
    ) as writer:
        writer.add(Environment(values={**environment(), **digests_of([plugin])}))
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
    return decide(
        [read_evidence(path)],
        criteria=plugin.criteria,
        certificates=certificates,
        mutants=plugin.mutants,
        plugins=[] if plugin.file is None else [plugin],
    )


def certify_plugin(
    plugin: CriterionPlugin, path: Path, *, backend: str, force: bool, say: Callable[[str], None]
) -> tuple[Certificate, ...]:
    """Try the healthy system and each mutant of a file that has no certificate in ``path``."""
    from evolution_gate import fixtures

    mine, backend = {code_of(plugin)}, fixtures.backend_for(backend, say)
    kept = [c for c in read_certificates(path, codes=mine) if c.stack == backend]
    healthy = Mutant(name=HEALTHY, criterion="", injector=_nothing_planted)
    done = set() if force else {(c.criterion, c.defect) for c in kept}
    names = [c.id for c in plugin.criteria]
    left = [d for d in plugin.mutants if (d.criterion, d.name) not in done]
    fresh = [name for name in names if (name, HEALTHY) not in done]
    trials: list[tuple[Mutant, list[str]]] = [(healthy, fresh)] if fresh else []
    trials += [(mutant, [mutant.criterion]) for mutant in left]
    say(f"{len(trials)} trials of {plugin.argument} to run")
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
                    f"{plugin.name}-{time.time()}",
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
