"""Executes a run from its plan to its last generation, with evolution, evaluator and ledger."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from ga.errors import ClusterError, MachineError
from ga.evaluation.settings import Outcome, Settings
from ga.event_log import BatchLog
from ga.evolution import Evolution
from ga.execution.protocol import BatchResult, Evaluator, FailedAttempt, NodeReport
from ga.execution.ray.reconnect import Reconnector
from ga.genome import Genome
from ga.ledger import Attempt, Ledger, NodeRecord
from ga.market import Market
from ga.metrics import Telemetry
from ga.population import Fitnesses, hex_keys
from ga.redaction import redact
from ga.result_cache import Cache


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a run; sent after every batch."""

    generation: int
    generations: int
    done: int
    """Individuals of this generation with an outcome."""
    population_size: int
    evaluations: int
    best: float | None
    evaluations_per_second: float
    seconds_left: float | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Result of a run."""

    run: str
    digest: str
    mode: str
    """Mode of the last generation."""
    workers: int
    generations: int
    evaluations: int
    """Evaluations done by this process; equal genomes are evaluated once."""
    failed: int
    cached: int
    """Outcomes from the cache; not included in ``evaluations``."""
    fallbacks: int
    """Number of failovers from the cluster to this machine."""
    failbacks: int
    """Number of failbacks to the cluster."""
    seconds: float
    """Seconds from the first evaluation to the last commit, without loading workers."""
    startup_seconds: float
    cpu_seconds: float
    """CPU time of all workers in evaluations."""
    cpu_seconds_by_node: dict[str, float]

    @property
    def evaluations_per_second(self) -> float:
        """Evaluations over ``seconds``."""
        return self.evaluations / self.seconds if self.seconds > 0 else 0.0


@dataclass
class _Counters:
    evaluations: int = 0
    failed: int = 0
    cached: int = 0
    fallbacks: int = 0
    failbacks: int = 0
    cpu: dict[str, float] = field(default_factory=dict)


class Runner:
    """Runs an ``Evolution`` to its end and commits each generation.

    Args:
        fall_back: makes the local evaluator for a failover.
        stand_by: reconnects to the cluster during local work; None: no failback.
        enough: ends the run before its plan does; see ``ga.stopping.Stopping.enough``.
        known: outcomes by key that are in the ledger already, for a resumed run.
        cache: queried before work is dispatched, and filled with new outcomes; the caller closes
            it.
        telemetry: receives the run's events; None: they are discarded.
    """

    def __init__(
        self,
        *,
        run: str,
        evolution: Evolution,
        market: Market,
        settings: Settings,
        ledger: Ledger,
        evaluator: Evaluator,
        fall_back: Callable[[ClusterError], Evaluator],
        log: BatchLog,
        on_progress: Callable[[Progress], None],
        known: dict[str, Outcome] | None = None,
        cache: Cache | None = None,
        telemetry: Telemetry | None = None,
        stand_by: Callable[[], Reconnector] | None = None,
        enough: Callable[[int, float | None], bool] = lambda _generation, _best: False,
    ) -> None:
        self._run, self._evolution = run, evolution
        self._market_hash, self._settings = market.hash, settings
        self._ledger, self._evaluator = ledger, evaluator
        self._fall_back, self._log = fall_back, log
        self._on_progress = on_progress
        self._cache, self._telemetry = cache, telemetry or Telemetry(run)
        self._stand_by, self._enough = stand_by, enough
        self._standby: Reconnector | None = None
        self._known = known or {}
        self._best: float | None = max(
            (o.fitness for o in self._known.values() if o.fitness is not None), default=None
        )
        self._counters = _Counters()
        self._checked: dict[str, NodeReport] = {}
        """Reported nodes by their id."""
        self._unrecorded_nodes: list[NodeRecord] = []
        """Nodes of an abandoned evaluator that are not in the ledger yet."""
        self._tried: defaultdict[str, list[Attempt]] = defaultdict(list)
        """Key -> the failed attempts of this generation."""

    @property
    def evaluator(self) -> Evaluator:
        """The current evaluator; the caller closes it."""
        return self._evaluator

    def warm_up(self) -> float:
        """Load the workers; returns the seconds it took."""
        started = time.perf_counter()
        try:
            self._evaluator.warm_up()
        except ClusterError as error:
            self._fail_over(error)
        return time.perf_counter() - started

    def go(self) -> Summary:
        """Run to the last generation, or until it is enough."""
        try:
            return self._go()
        except MachineError:
            # No commit is running, so record the refused node and its reason in the ledger.
            self._ledger.keep_nodes(self._run, self._new_nodes())
            raise
        finally:
            if self._standby is not None:
                self._standby.close()

    def _go(self) -> Summary:
        startup = self.warm_up()
        self._ledger.keep_nodes(self._run, self._new_nodes())
        self._log.write("ready", workers=self._evaluator.workers)
        self._telemetry.mode(self._evaluator.mode)
        evolution = self._evolution
        self._started = time.perf_counter()
        self._first = evolution.generation
        # Exclude loaded modules from garbage collections.
        gc.freeze()
        # At most one generation is uncommitted, and the run ends only after the last commit.
        with ThreadPoolExecutor(1, thread_name_prefix="ledger") as committer:
            # The executor does not wait for a thread whose start a signal interrupted: no work yet.
            committer.submit(int).result()
            committing: Future[None] | None = None
            while not evolution.done and not self._enough(evolution.generation, self._best):
                commit = self._generation()
                if committing is not None:
                    committing.result()
                committing = committer.submit(commit)
            if committing is not None:
                committing.result()
        return Summary(
            run=self._run,
            digest=evolution.digest,
            mode=self._evaluator.mode,
            workers=self._evaluator.workers,
            generations=evolution.generation,
            evaluations=self._counters.evaluations,
            failed=self._counters.failed,
            cached=self._counters.cached,
            fallbacks=self._counters.fallbacks,
            failbacks=self._counters.failbacks,
            seconds=time.perf_counter() - self._started,
            startup_seconds=startup,
            cpu_seconds=sum(self._counters.cpu.values()),
            cpu_seconds_by_node=dict(self._counters.cpu),
        )

    def _generation(self) -> Callable[[], None]:
        """Evaluate the current generation and advance; returns a function that commits it."""
        evolution = self._evolution
        began, generation = time.perf_counter(), evolution.generation
        packed = evolution.population.keys(self._market_hash, self._settings)
        keys, population = hex_keys(packed), evolution.ask()
        wanted: dict[str, Genome] = {}
        for key, genome in zip(keys, population, strict=True):
            if key not in self._known:
                wanted.setdefault(key, genome)
        attempts = self._read_cache(wanted)
        attempts |= self._evaluate({k: g for k, g in wanted.items() if k not in attempts})
        self._write_cache(attempts)
        outcomes = [self._known[key] for key in keys]
        evolution.tell_arrays(Fitnesses.of(outcomes, packed))
        seconds = time.perf_counter() - began
        digest, mode, last = evolution.digest, self._evaluator.mode, evolution.done
        best = self._best
        tried = [attempt for tries in self._tried.values() for attempt in tries]
        self._tried.clear()
        checked = self._new_nodes()

        def commit() -> None:
            self._ledger.commit(
                self._run,
                generation=generation,
                population=population,
                outcomes=outcomes,
                fresh=attempts,
                digest=digest,
                seconds=seconds,
                mode=mode,
                last=last,
                tried=tried,
                checked=checked,
            )
            self._telemetry.committed(wanted, self._known, attempts, best)
            self._log.write("generation", generation=generation, seconds=seconds)

        return commit

    def _read_cache(self, wanted: dict[str, Genome]) -> dict[str, int]:
        """Take known outcomes from the cache; returns key -> 0 attempts."""
        if self._cache is None:
            return {}
        damaged = self._cache.damaged
        found = self._cache.get_many(list(wanted))
        for outcome in found.values():
            self._store_outcome(outcome)
        self._counters.cached += len(found)
        self._telemetry.cache_lookup(
            hits=len(found),
            misses=len(wanted) - len(found),
            damaged=self._cache.damaged - damaged,
        )
        return dict.fromkeys(found, 0)

    def _write_cache(self, attempts: dict[str, int]) -> None:
        """Store outcomes in the cache that did not come from it."""
        if self._cache is not None:
            self._cache.put_many(self._known[key] for key, tries in attempts.items() if tries)

    def _store_outcome(self, outcome: Outcome) -> None:
        self._known[outcome.key] = outcome
        fitness = outcome.fitness
        if fitness is not None and (self._best is None or fitness > self._best):
            self._best = fitness

    def _evaluate(self, wanted: dict[str, Genome]) -> dict[str, int]:
        """Evaluate genomes without an outcome; returns key -> attempts."""
        attempts: dict[str, int] = {}
        while True:
            self._fail_back()
            left = {k: g for k, g in wanted.items() if k not in attempts}
            if not left:
                self._report(1.0)
                return attempts
            try:
                self._telemetry.mode(self._evaluator.mode)
                genomes = list(left.values())
                # Only this variable holds the generator, so leaving the loop also ends the
                # evaluator's side.
                for result in self._telemetry.watch(self._evaluator.evaluate(genomes), genomes):
                    self._on_result(result, attempts)
                    self._report(len(attempts) / len(wanted))
                    if self._standby is not None and self._standby.ready:
                        break
            except ClusterError as error:
                self._record_unanswered(left)
                self._fail_over(error)
                continue
            self._record_unanswered(left)
            missing = sum(key not in attempts for key in wanted)
            if missing and not (self._standby is not None and self._standby.ready):
                raise RuntimeError(
                    f"evaluator {self._evaluator.mode} ended with {missing} genomes unanswered"
                )

    def _new_nodes(self) -> list[NodeRecord]:
        """Report and return the nodes that were checked since the last call."""
        fresh, self._unrecorded_nodes = self._unrecorded_nodes, []
        for one in self._evaluator.nodes:
            if self._checked.get(one.id) == one:
                continue
            self._checked[one.id] = one
            self._telemetry.checked(one)
            self._log.write("node", **asdict(one))
            if one.refused is not None:
                self._log.warn("node_refused", f"node {one.node} gets no work: {one.refused}")
            fresh.append(NodeRecord(**asdict(one)))
        return fresh

    def _record_unanswered(self, asked: Mapping[str, Genome]) -> None:
        """Record the attempts of an evaluator that failed or was abandoned."""
        keys = list(asked)
        for index, tries in self._evaluator.unanswered_attempts.items():
            self._record_attempts(keys[index], tries)

    def _record_attempts(self, key: str, tries: Sequence[FailedAttempt]) -> int:
        """Record failed attempts at an evaluation; returns their number so far."""
        known = self._tried[key]
        known += [Attempt(key=key, attempt=n, **asdict(t)) for n, t in enumerate(tries, len(known))]
        return len(known)

    def _on_result(self, result: BatchResult, attempts: dict[str, int]) -> None:
        batch = result.batch
        for outcome in batch.outcomes:
            if outcome.key in attempts:
                continue
            # Usually there are no failed attempts.
            noted = 0
            if result.tried or self._tried:
                noted = self._record_attempts(outcome.key, result.tried)
            attempts[outcome.key] = noted + 1
            self._store_outcome(outcome)
            self._counters.evaluations += 1
            if outcome.fitness is None:
                self._counters.failed += 1
                self._log.write("failed", key=outcome.key, error=outcome.error)
        cpu = self._counters.cpu
        cpu[result.node] = cpu.get(result.node, 0.0) + batch.cpu_seconds
        self._log.write(
            "batch",
            generation=self._evolution.generation,
            size=len(result.indices),
            node=result.node,
            attempt=result.attempt,
            seconds=result.seconds,
            tried=[asdict(one) for one in result.tried],
            cpu_seconds=batch.cpu_seconds,
            started_at=batch.started_at,
            finished_at=batch.finished_at,
        )

    def _fail_over(self, error: ClusterError) -> None:
        if self._evaluator.mode == "local":
            # There is no failover from this machine: the error would repeat for ever.
            raise error
        self._counters.fallbacks += 1
        self._telemetry.fell_back()
        self._log.write("fallback", reason=redact(str(error)))
        self._unrecorded_nodes += self._new_nodes()
        self._evaluator.close()
        self._evaluator = self._fall_back(error)
        if self._stand_by is not None:
            self._standby = self._stand_by()
        self._evaluator.warm_up()

    def _fail_back(self) -> None:
        """Failback if the cluster answers again; local batches in flight are repeated there."""
        returned = None if self._standby is None else self._standby.pop()
        if self._standby is None or returned is None:
            return
        self._standby.close()
        self._standby = None
        self._counters.failbacks += 1
        reason = (
            f"cluster answered at try {returned.tries}, {returned.seconds:.0f} s after its loss"
        )
        self._log.write("takeback", reason=reason, tries=returned.tries, seconds=returned.seconds)
        self._evaluator.close()
        self._evaluator = returned.evaluator

    def _report(self, share: float) -> None:
        """Report the progress, with ``share`` of the current generation done."""
        plan, evolution = self._evolution.plan, self._evolution
        spent = time.perf_counter() - self._started
        finished = evolution.generation - self._first + share
        total = plan.generations - self._first
        self._on_progress(
            Progress(
                generation=evolution.generation,
                generations=plan.generations,
                done=round(share * plan.population_size),
                population_size=plan.population_size,
                evaluations=self._counters.evaluations,
                best=self._best,
                evaluations_per_second=self._counters.evaluations / spent if spent > 0 else 0.0,
                seconds_left=spent / finished * (total - finished) if finished > 0 else None,
            )
        )
