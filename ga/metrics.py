"""Prometheus series of a run. Values that are also in the ledger are counted at the commit, so that
the series always agree with the ledger.
"""

from __future__ import annotations

import contextlib
import platform
import socket
import threading
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ga.errors import InputError
from ga.evaluation.settings import Outcome
from ga.execution.protocol import BatchResult, NodeReport
from ga.families import KERNEL_VERSION
from ga.genome import Genome
from ga.result_cache import parse_url
from ga.store_url import url_of

MODES: Final = ("local", "distributed")
LOOPBACK: Final = "127.0.0.1"
MOST_NODES: Final = 64
"""Nodes with series of their own; there are at most 14 for each, one a family."""
OTHER_NODES: Final = "other"
_CONNECT_SECONDS: Final = 0.6
"""Below the shortest time-out of a scrape, 1 s."""
_POSTGRES_PORT: Final = 5432
_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Buckets around the 0.03 to 0.2 CPU seconds of a batch. A node's quota and queueing prolong them,
and a batch that was lost with a node is answered seconds later.
"""


def _version() -> str:
    try:
        return version("evolution-gate")
    except PackageNotFoundError:
        # A checkout that is not installed.
        return "unknown"


def depends_on(store: str, cache: str | None) -> dict[str, tuple[str, int]]:
    """Host and port of the database and cache servers of a run, by name."""
    found: dict[str, tuple[str, int]] = {}
    url = url_of(store)
    # Without a host in the URL, the driver uses its own variables or a local socket.
    if url.host:
        found["database"] = (url.host, url.port or _POSTGRES_PORT)
    if cache:
        server = parse_url(cache)
        found["cache"] = (server.host, server.port)
    return found


class _Check(threading.Thread):
    """One try to connect. It may outlive its scrape: the resolution of a name has no time-out."""

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(name="reachable", daemon=True)
        self._address = address
        self.connected = False

    def run(self) -> None:
        with contextlib.suppress(OSError):
            socket.create_connection(self._address, timeout=_CONNECT_SECONDS).close()
            self.connected = True


class Reachable(Collector):
    """Collector that checks the connections at each scrape, so that the value is current.

    All are checked at the same time, and a service without an answer in time counts as not
    reachable: a scrape that takes too long has no value at all, and an alert would never fire.

    Args:
        run: the label ``run``.
        services: by name (``database``, ``cache``): host and port.
    """

    def __init__(self, run: str, services: Mapping[str, tuple[str, int]]) -> None:
        self._run, self._services = run, services
        self._checks: dict[str, _Check] = {}
        self._one = threading.Lock()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Connect to each service, and report which accept a connection."""
        text = "1: the service accepts connections from here; 0: it does not."
        family = GaugeMetricFamily("ga_reachable", text, labels=["run", "service"])
        with self._one:
            for name, address in self._services.items():
                # One that hangs is not joined by a second one.
                if name not in self._checks or not self._checks[name].is_alive():
                    self._checks[name] = _Check(address)
                    self._checks[name].start()
            deadline = time.monotonic() + _CONNECT_SECONDS
            for name in self._services:
                check = self._checks[name]
                check.join(max(0.0, deadline - time.monotonic()))
                up = not check.is_alive() and check.connected
                family.add_metric([self._run, name], float(up))
        yield family


class Telemetry:
    """The series of one run in a separate registry, all with the label ``run``.

    Args:
        services: services that the run depends on, by name (``database``, ``cache``): host and
            port.
    """

    def __init__(self, run: str, services: Mapping[str, tuple[str, int]] | None = None) -> None:
        self.registry = registry = CollectorRegistry()
        registry.register(Reachable(run, services or {}))
        self._run = run

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, ["run"], registry=registry).labels(run)

        self._generations = counter("ga_generations", "Generations in the ledger.")
        self._attempts = counter("ga_attempts", "Attempts at the evaluations in the ledger.")
        self._fallbacks = counter("ga_fallbacks", "Times this machine took over from a cluster.")
        self._hits = counter("ga_cache_hits", "Outcomes found in the cache.")
        self._misses = counter("ga_cache_misses", "Outcomes not found in the cache.")
        self._damaged = counter("ga_cache_damaged", "Values in the cache that were not ours.")
        self._evaluations = Counter(
            "ga_evaluations",
            "Evaluations in the ledger: ok, failed, or (ok, but) cached.",
            ["run", "family", "outcome"],
            registry=registry,
        )
        text = "Evaluations that a node answered; what is not in the ledger is among them."
        self._answered = Counter("ga_answered", text, ["run", "family", "node"], registry=registry)
        self._nodes: set[str] = set()
        text = "From the first dispatch of a batch to its answer."
        self._batch_seconds = Histogram(
            "ga_batch_seconds", text, ["run"], buckets=_BUCKETS, registry=registry
        ).labels(run)
        text = "Evaluations handed to the evaluator and not answered yet."
        self._in_flight = Gauge("ga_in_flight", text, ["run"], registry=registry).labels(run)
        text = "Best fitness in the ledger; not there before the first."
        self._best = Gauge("ga_best_fitness", text, ["run"], registry=registry)
        self._mode = Gauge("ga_mode", "1 for the mode in use.", ["run", "mode"], registry=registry)
        text = "1: the node has passed the numerics check; 0: it gets no work."
        self._fit = Gauge("ga_node_fit", text, ["run", "node", "processor"], registry=registry)
        info = Gauge(
            "ga_build_info",
            "1, with what runs as labels.",
            ["run", "version", "kernel_version", "python"],
            registry=registry,
        )
        made_of = (_version(), str(KERNEL_VERSION), platform.python_version())
        info.labels(run, *made_of).set(1)

    def watch(
        self, results: Iterator[BatchResult], asked: Sequence[Genome]
    ) -> Iterator[BatchResult]:
        """Yield an evaluator's results, and record batch times, evaluations in flight, and which
        node answered which families.
        """
        self._in_flight.set(len(asked))
        try:
            for result in results:
                self._in_flight.dec(len(result.indices))
                self._batch_seconds.observe(result.seconds)
                node = self._label(result.node)
                for family, count in Tally(asked[at].family for at in result.indices).items():
                    self._answered.labels(self._run, family, node).inc(count)
                yield result
        finally:
            self._in_flight.set(0)

    def _label(self, node: str) -> str:
        """The node, or ``OTHER_NODES`` after ``MOST_NODES``: an autoscaled cluster has no bound."""
        if len(self._nodes) < MOST_NODES:
            self._nodes.add(node)
        return node if node in self._nodes else OTHER_NODES

    def mode(self, mode: str) -> None:
        """Record the mode in use from now on."""
        for name in MODES:
            self._mode.labels(self._run, name).set(name == mode)

    def checked(self, node: NodeReport) -> None:
        """Record a node that was checked before it got work."""
        self._fit.labels(self._run, node.node, node.processor).set(node.refused is None)

    def fell_back(self) -> None:
        """Record a failover."""
        self._fallbacks.inc()

    def cache_lookup(self, *, hits: int, misses: int, damaged: int) -> None:
        """Record a query of the cache; damaged values also count as misses."""
        self._hits.inc(hits)
        self._misses.inc(misses)
        self._damaged.inc(damaged)

    def committed(
        self,
        genomes: Mapping[str, Genome],
        outcomes: Mapping[str, Outcome],
        attempts: Mapping[str, int],
        best: float | None,
    ) -> None:
        """Record a committed generation.

        Args:
            genomes: by key, at least those of ``attempts``.
            outcomes: by key, at least those of ``attempts``.
            attempts: its new evaluations; 0 for those from the cache.
            best: the run's best fitness so far.
        """
        families = [genomes[key].family for key in attempts]
        became = [
            "failed" if outcomes[key].fitness is None else "ok" if tries else "cached"
            for key, tries in attempts.items()
        ]
        for (family, what), count in Tally(zip(families, became, strict=True)).items():
            self._evaluations.labels(self._run, family, what).inc(count)
        self._attempts.inc(sum(attempts.values()))
        if best is not None:
            self._best.labels(self._run).set(best)
        self._generations.inc()


def check_host(host: str, option: str) -> None:
    """Check the form of a host's name; ``socket`` would leave a socket open, and no ``OSError``.

    Raises:
        InputError: no host can have this name; the message names the option.
    """
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise InputError(f"{option} {host}: not a name of a host ({error}); give another") from None


def check_port(port: int, host: str = LOOPBACK) -> None:
    """Check that the address can be bound.

    Raises:
        InputError: the port is not 0..65535, in use, or not allowed; or the host is not local.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--metrics-port must be 0..65535, not {port}")
    check_host(host, "--metrics-host")
    try:
        socket.create_server((host, port)).close()
    except socket.gaierror as error:
        raise InputError(
            f"cannot bind --metrics-host {host}: {error.strerror}; use a local address"
        ) from None
    except OSError as error:
        raise InputError(
            f"--metrics-port {port}: {error.strerror} on {host}; give another one, or 0 for any"
            " that is free"
        ) from None


class MetricsServer:
    """Serves a registry at ``http://HOST:PORT/metrics``; by default to this machine only.

    Args:
        port: 0 for any free port; see ``check_port``.
        host: the address to listen on. The series contain no secret, and there is no
            authentication.
    """

    def __init__(self, registry: CollectorRegistry, port: int, host: str = LOOPBACK) -> None:
        check_port(port, host)
        self._host = host
        self._server, self._thread = start_http_server(port, host, registry)

    @property
    def url(self) -> str:
        """URL for Prometheus."""
        return f"http://{self._host}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
