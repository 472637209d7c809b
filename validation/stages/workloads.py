"""Evolutions on a running stack, with nodes killed in some, each written down as evidence."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from evolution_gate.fixtures.protocols import Node, NodeUsage, Stack, StackError
from validation.criteria.speedup import decided
from validation.evidence.log import Sink
from validation.evidence.records import Arm, Invocation, Note, Purpose
from validation.limits import LOOKS
from validation.monitors.cluster import ExcusedOutages
from validation.stages.cache_namespaces import CacheNamespaces
from validation.stages.evaluating import await_batch
from validation.stages.evolve_process import (
    Evolve,
    EvolveResult,
    WorkloadSpec,
    launch_local,
)
from validation.stages.node_price import node_price
from validation.stages.node_recovery import kill_and_restore
from validation.stages.scale import (
    POPULATIONS,
    REPEATS,
    RULES,
    SPEEDUP_FAMILIES,
    Scale,
)
from validation.stages.workload_records import (
    cpu_windows,
    ledger_records,
    node_records,
    outcome,
    with_lost_work,
)

WORKLOAD_SECONDS: Final = 300.0
_POLL: Final = 0.1


def store_of(stack: Stack, folder: Path) -> str:
    """Where a campaign's workloads keep their ledger."""
    return stack.endpoints.postgres or f"sqlite:///{folder / 'ledger.db'}"


class Workloads:
    """Runs evolutions on one stack and writes what it saw.

    Args:
        folder: Where logs and local stores of this run go.
        say: Told, in one line, what is going on.
        before: Workloads of this run so far: a run that is taken up again goes on counting.
    """

    def __init__(
        self,
        stack: Stack,
        writer: Sink,
        *,
        seed: int,
        scale: Scale,
        folder: Path,
        outages: ExcusedOutages,
        say: Callable[[str], None],
        before: int = 0,
    ) -> None:
        self._stack, self._writer = stack, writer
        self._seed, self._scale = seed, scale
        # Absolute: a process of the stack may have another working directory.
        self._folder, self._outages, self._say = folder.absolute(), outages, say
        self.store = store_of(stack, self._folder)
        self._rng = np.random.Generator(np.random.Philox(key=[seed, 0xFA017 + before]))
        self._count = before
        self._cache = CacheNamespaces(stack.endpoints.redis, say)

    @property
    def _slots(self) -> int:
        return sum(node.limits.slots for node in self._stack.nodes)

    def speedup(self) -> None:
        """Pairs of the same evolution on one node and on all, arms in alternating order."""
        families = self._scale.families or SPEEDUP_FAMILIES
        self._writer.add(Note(text=f"speed-up workloads evolve {families}"))
        self._writer.add(node_price())
        spec = WorkloadSpec(
            seed=self._seed,
            market=self._scale.market,
            families=families,
            population_size=self._scale.speedup[0],
            generations=self._scale.speedup[1],
        )
        self._say("the same evolution on all cores of this machine, without a quota")
        self._plain(spec, os.cpu_count() or 1, purpose="machine")
        ratios: list[float] = []
        for look in range(LOOKS):
            first = look * self._scale.pairs
            for pair in range(first, first + self._scale.pairs):
                ratios += self._pair(spec, pair)
            if decided(ratios):
                return

    def _pair(self, spec: WorkloadSpec, pair: int) -> list[float]:
        """Both arms of a pair; returns the ratio of their wall times, if both could be run."""
        seconds: dict[Arm, float] = {}
        arms: tuple[Arm, Arm] = ("local", "distributed")
        for arm in arms if pair % 2 == 0 else reversed(arms):
            self._say(f"speed-up pair {pair + 1}: {arm}")
            run = self._local if arm == "local" else self._distributed
            ended = run(spec, purpose="speedup", pair=pair)
            if ended is not None and ended.exit_code == 0:
                seconds[arm] = ended.finished_at - ended.started_at
        return [seconds["local"] / seconds["distributed"]] if len(seconds) == 2 else []

    def reference(self, during: Callable[[Evolve], None] | None = None) -> None:
        """The undisturbed history on real prices: locally with 1 and 2 processes, then served from
        the result cache of the first.

        Args:
            during: done while the second of them runs.
        """
        self._say(f"undisturbed evolution on {self._scale.market}: 1 and 2 processes, result cache")
        filled = self._plain(self.real(), 1, keep_cache=True)
        self._plain(self.real(), 2, during=during)
        if self._cache.on:
            self._plain(self.real(), 1, served=filled)

    def undisturbed(self) -> None:
        """The evolution on the cluster once, nothing broken."""
        self._distributed(self.real(), purpose="reproducibility", pair=None)

    def populations(self) -> None:
        """Populations of growing size on the cluster, of families that trade by rules."""
        for size, generations in POPULATIONS:
            self._say(f"population of {size:,}")
            spec = WorkloadSpec(
                seed=self._seed,
                market=self._scale.market,
                families=self._scale.families or RULES,
                population_size=size,
                generations=generations,
            )
            self._distributed(spec, purpose="population", pair=None)

    def recoveries(self) -> None:
        """The same evolution on the cluster again and again, a node killed in each."""
        total, confirmed, tried = self._scale.recoveries, 0, 0
        while confirmed < total and tried < total + REPEATS:
            tried += 1
            node = self._stack.nodes[int(self._rng.integers(len(self._stack.nodes)))]
            delay = float(self._rng.uniform(1.0, 3.0))
            self._say(f"recovery {confirmed + 1} of {total}: kill {node.name} after {delay:.1f} s")
            confirmed += self._broken(self.real(), node, delay)

    def endless(self, name: str) -> Evolve:
        """An evolution on the cluster that its caller ends, with the engine's metrics. What becomes
        of it is not judged, so that it is none of the run's workloads.
        """
        spec = replace(self.real(), families=self._scale.families or RULES, generations=1_000_000)
        arguments = [*self.cluster_arguments(), *self._metered(inside=True)]
        return self._process(spec, name, arguments)

    def real(self) -> WorkloadSpec:
        """The evolution that is repeated and broken."""
        size, generations = self._scale.evolution
        return WorkloadSpec(
            seed=self._seed,
            market=self._scale.market,
            population_size=size,
            generations=generations,
            families=self._scale.families,
        )

    def _local(
        self, spec: WorkloadSpec, *, purpose: Purpose, pair: int | None
    ) -> EvolveResult | None:
        name = self.name(purpose, "local")
        try:
            evolve = Evolve(
                spec,
                store=self.store,
                folder=self._folder,
                name=name,
                arguments=["--mode", "local", "--workers", "1"],
                env={},
                cache=self._cache.environment(name),
                launch=lambda argv, env: self._stack.on_one_node(argv, env=env),
            )
        except StackError as error:
            # Without a quota there is no arm of the same size; the verdict then lacks its pair.
            self._writer.add(Note(text=f"no local arm: {error}"))
            return None
        # Only now: a process that could not be started was asked for nothing.
        self._invoke(name, spec)
        with evolve:
            ended = evolve.finish(WORKLOAD_SECONDS)
        self.record(name, spec, ended, purpose=purpose, arm="local", pair=pair, nodes=1, workers=1)
        return ended

    def _plain(
        self,
        spec: WorkloadSpec,
        workers: int,
        *,
        purpose: Purpose = "reproducibility",
        during: Callable[[Evolve], None] | None = None,
        keep_cache: bool = False,
        served: str | None = None,
    ) -> str:
        """A local evolution; returns its name. ``served`` is the name of an earlier one whose
        outcomes it finds in the cache, if that one had ``keep_cache``.
        """
        name = self.name(purpose, "local")
        arguments = ["--mode", "local", "--workers", str(workers), *self._metered(inside=False)]
        with self.evolve(spec, name, arguments, cache=served) as evolve:
            if during is not None and evolve.wait_ready(WORKLOAD_SECONDS):
                during(evolve)
            ended = evolve.finish(WORKLOAD_SECONDS)
        self.record(
            name,
            spec,
            ended,
            purpose=purpose,
            arm="local",
            pair=None,
            nodes=1,
            workers=workers,
            served=served,
            keep_cache=keep_cache,
        )
        return name

    def _distributed(
        self, spec: WorkloadSpec, *, purpose: Purpose, pair: int | None
    ) -> EvolveResult:
        name = self.name(purpose, "distributed")
        with self.evolve(spec, name, self.cluster_arguments()) as evolve:
            evolve.wait_ready(WORKLOAD_SECONDS)
            before = self._usages()
            after = before
            while evolve.running:
                time.sleep(_POLL)
                if after and (evolve.generation_at or 0.0) > min(u.at for u in after.values()):
                    # Read at each commit, so that the last reading is that of the last generation.
                    after = self._usages()
            ended = evolve.finish(WORKLOAD_SECONDS)
        for window in cpu_windows(name, self._stack.nodes, before, after, ended):
            self._writer.add(window)
        self._record_distributed(name, spec, ended, purpose, pair)
        return ended

    def _record_distributed(
        self, name: str, spec: WorkloadSpec, ended: EvolveResult, purpose: Purpose, pair: int | None
    ) -> None:
        self.record(
            name,
            spec,
            ended,
            purpose=purpose,
            arm="distributed",
            pair=pair,
            nodes=len(self._stack.nodes),
            workers=self._slots,
        )

    def _broken(self, spec: WorkloadSpec, node: Node, delay: float) -> bool:
        """Whether the node was killed during the evolution, with a receipt."""
        name = self.name("recovery", "distributed")
        arguments = [*self.cluster_arguments(), *self._metered(inside=True)]
        with self.evolve(spec, name, arguments) as evolve:
            ready = evolve.wait_ready(WORKLOAD_SECONDS)
            recovery, confirmed = None, False
            if ready:
                time.sleep(delay)
                await_batch(evolve, node)
                if evolve.running:
                    recovery, confirmed = kill_and_restore(
                        self._stack, node, name, self._writer, self._outages
                    )
                else:
                    self._writer.add(Note(text=f"{name} had ended before its fault"))
            ended = evolve.finish(WORKLOAD_SECONDS)
        if recovery is not None:
            self._writer.add(with_lost_work(recovery, ended.batches))
        self._record_distributed(name, spec, ended, "recovery", None)
        return confirmed

    def evolve(
        self, spec: WorkloadSpec, name: str, arguments: Sequence[str], cache: str | None = None
    ) -> Evolve:
        """Start a workload; one that uses the cluster, where the stack wants such processes.

        Args:
            cache: Name of the workload with whose result cache it begins; None: an empty one.
        """
        self._invoke(name, spec)
        return self._process(spec, name, arguments, cache)

    def _process(
        self, spec: WorkloadSpec, name: str, arguments: Sequence[str], cache: str | None = None
    ) -> Evolve:
        return Evolve(
            spec,
            store=self.store,
            folder=self._folder,
            name=name,
            arguments=arguments,
            env=self._stack.endpoints.env,
            cache=self._cache.environment(cache or name),
            launch=self._stack.driver if "--address" in arguments else launch_local,
        )

    def _invoke(self, name: str, spec: WorkloadSpec) -> None:
        # Before the process starts: whatever happens from here on, the record knows of it.
        self._writer.add(
            Invocation(
                workload=name,
                population_size=spec.population_size,
                generations=spec.generations,
            )
        )

    def cluster_arguments(self) -> list[str]:
        """What sends a workload to the cluster."""
        return ["--mode", "distributed", "--address", self._stack.endpoints.ray]

    def _metered(self, *, inside: bool) -> list[str]:
        """Let Prometheus see the engine. Not in speed-up pairs: only one of their arms could be."""
        ends = self._stack.endpoints
        if ends.engine_metrics_port is None:
            return []
        found = ["--metrics-port", str(ends.engine_metrics_port)]
        if ends.engine_metrics_host is None:
            return found
        # Where an address is given, the engines that are looked for are those in the stack.
        return [*found, "--metrics-host", ends.engine_metrics_host] if inside else []

    def name(self, purpose: str, arm: str) -> str:
        """The id of the next workload."""
        self._count += 1
        return f"{self._count:02d}-{purpose}-{arm}"

    def _usages(self) -> dict[str, NodeUsage]:
        """Of every node that can be read."""
        read = {node.name: node.usage() for node in self._stack.nodes}
        return {name: usage for name, usage in read.items() if usage is not None}

    def record(
        self,
        name: str,
        spec: WorkloadSpec,
        ended: EvolveResult,
        *,
        purpose: Purpose,
        arm: Arm,
        pair: int | None,
        nodes: int,
        workers: int,
        served: str | None = None,
        keep_cache: bool = False,
    ) -> None:
        """Write down how a workload ended, and what its ledger holds; see ``_plain``."""
        self._writer.add(
            outcome(
                name, spec, ended, purpose=purpose, arm=arm, pair=pair, nodes=nodes, workers=workers
            )
        )
        for found in node_records(name, arm, ended):
            self._writer.add(found)
        held = ledger_records(self.store, self._seed, name, spec, ended, cached=served is not None)
        for stored in held:
            self._writer.add(stored)
        if not keep_cache:
            self._cache.forget(served or name)
