"""Numerics check: does this process compute bit-identical results?

A small fixed set of genomes of every family is evaluated on a fixed market and hashed. The expected
hashes are part of the engine. A node with other hashes would produce a history that no other
machine can reproduce, so it gets no work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from llvmlite import binding

from ga.backtest import simulation
from ga.backtest.panel import panels
from ga.errors import MachineError
from ga.evaluation.folds import split
from ga.evaluation.scoring import score
from ga.evaluation.settings import Settings
from ga.families import FAMILIES, KERNEL_VERSION, Changes, get_family
from ga.market import Market
from ga.normal import normal_cdf, normal_quantile
from ga.numerics import Stream, exp, mean
from ga.operators import crossover, difference, mutate, mutation_scales, scatter, tournament
from ga.sources.synthetic import synthetic

EXPECTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ema_crossover": "7c334864c4e72ef7",
        "donchian_breakout": "1fe97017ea53d713",
        "rsi_filter": "77e371fb4871a1b7",
        "stochastic_oscillator": "c10f03fa3d1183f8",
        "sma_trend_filter": "23b194d3a4965011",
        "atr_stop_loss": "5380c8ad86f7a1ff",
        "ichimoku_cloud": "8915b8fc09f4aa0f",
        "vwap_reversion": "1d0f11fbc95f9fe7",
        "volatility_scaling": "e2bb528664f2c0b3",
        "funding_rate_carry": "ec45d8c720060fb8",
        "linear_svc_classifier": "2a4867d6d78ff09f",
        "pca_tree_quantile": "1ed9d0f87160f754",
        "bollinger_bands": "b3f95daaae04163c",
        "nadaraya_watson": "3c9dc585c72c63fc",
    }
)
"""Family -> expected value of ``digest``. ``python -m ga numerics --digests`` prints this table. It
changes only with ``KERNEL_VERSION``.
"""

EXPECTED_COORDINATOR: Final = "6fd9e936ec309a58"
"""Expected value of ``coordinator_digest``; it also changes with ``SEARCH_VERSION``."""

_BARS: Final = 1200
"""Bars of the market: two fits of the learned families."""
_SHARES: Final = (0.15, 0.5, 0.85)
"""Positions of the genomes within the bounds of each gene."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Result of a process on the fixed set."""

    processor: str
    """Model of the processor, and its name in the compiler."""
    kernel_version: int
    digests: Mapping[str, str]
    """Family -> digest."""

    @property
    def digest(self) -> str:
        """A combined digest of all families."""
        text = "\n".join(f"{name} {digest}" for name, digest in sorted(self.digests.items()))
        return hashlib.sha256(f"{self.kernel_version}\n{text}".encode()).hexdigest()[:16]

    @property
    def refusal(self) -> str | None:
        """Why this process may not evaluate; None if it may."""
        if self.kernel_version != KERNEL_VERSION:
            return (
                f"its engine has kernels of version {self.kernel_version}, not {KERNEL_VERSION};"
                " install the same version of evolution-gate there"
            )
        wrong = [name for name, digest in self.digests.items() if digest != EXPECTED.get(name)]
        if not wrong:
            return None
        listed = wrong[0] if len(wrong) == 1 else f"{wrong[0]} and {len(wrong) - 1} more families"
        return (
            f"its processor ({self.processor}) or its libraries compute {listed} to other bits;"
            " install the versions of constraints.txt there and run: python -m ga numerics"
        )


def command(options: argparse.Namespace) -> int:
    """``python -m ga numerics``: exit status 0 if this machine may evaluate, else 1."""
    found = prove()
    right = {name: one == EXPECTED.get(name) for name, one in found.digests.items()}
    right["coordinator"] = coordinator_digest() == EXPECTED_COORDINATOR
    if options.json:
        print(json.dumps({**asdict(found), "digest": found.digest, "right": right}))
    elif options.digests:
        print("\n".join(f'        "{name}": "{one}",' for name, one in found.digests.items()))
    else:
        for name, one in found.digests.items():
            print(
                f"{name:24}{one}  {'right' if right[name] else f'WRONG: must be {EXPECTED[name]}'}"
            )
        if not right["coordinator"]:
            print(f"coordinator: WRONG: {coordinator_digest()} must be {EXPECTED_COORDINATOR}")
        print(found.refusal or f"{found.processor} computes all families right: {found.digest}")
    return 0 if all(right.values()) else 1


def prove(families: Iterable[str] = FAMILIES) -> Proof:
    """Evaluate the fixed set of these families here."""
    return Proof(
        processor=processor(),
        kernel_version=KERNEL_VERSION,
        digests={name: digest(name) for name in families if name in FAMILIES},
    )


def expected(families: Iterable[str] = FAMILIES) -> Proof:
    """The expected result of ``prove``, with this machine's processor. User-defined families are
    not checked.
    """
    return Proof(
        processor=processor(),
        kernel_version=KERNEL_VERSION,
        digests={name: EXPECTED[name] for name in families if name in EXPECTED},
    )


@cache
def require(family: str) -> None:
    """Evaluate the fixed set of a family, once per process.

    Raises:
        MachineError: this process computes other bits.
    """
    if refusal := prove([family]).refusal:
        raise MachineError(f"this machine gets no work: {refusal}")


def require_coordinator() -> None:
    """Check that this process breeds, generates markets and judges results like all others.

    Raises:
        MachineError: this process computes other bits.
    """
    if coordinator_digest() != EXPECTED_COORDINATOR:
        raise MachineError(
            f"this machine cannot lead a run: its processor ({processor()}) or its libraries breed"
            " different genomes; install the versions of constraints.txt and run: python -m ga"
            " numerics"
        )


@cache
def coordinator_digest() -> str:
    """Hash of the coordinator's own computations: random numbers, children, probabilities."""
    stream, family = Stream(key=(14, 14)), get_family("volatility_scaling")
    shape = (40, len(family.genes))
    parents = [scatter(family, stream.random(shape)) for _ in range(2)]
    mixed = crossover(parents[0], parents[1], stream.random(shape), stream.random(40))
    scales = mutation_scales(stream.random(40))
    made = mutate(family, mixed, stream.random(shape), stream.normal(shape), scales)
    draws = stream.random(40), stream.random(40)
    choice, rounding = stream.random(shape), stream.random(shape)
    made = difference(family, made, mixed, (parents[0], parents[1]), choice, rounding, draws)
    found = hashlib.sha256(_market().hash.encode())
    for values in (made, tournament(40, stream.random((40, 8))), exp(made.ravel() / 50.0)):
        found.update(values.tobytes())
    edge = [normal_cdf(1.3), normal_quantile(0.99), mean(made)]
    found.update(np.array(edge).tobytes())
    return found.hexdigest()[:16]


@cache
def digest(family: str) -> str:
    """Hash of the signals, statistics and scores of a family's fixed genomes."""
    rule, settings, market = get_family(family), Settings(), _market()
    genes = np.array(
        [[g.clip(g.low + share * (g.high - g.low)) for g in rule.genes] for share in _SHARES]
    )
    ranges = split(market.bars, settings).in_sample
    found = hashlib.sha256(market.hash.encode())
    for panel in panels(market):
        changes = Changes.empty(len(genes), market.bars)
        rule.signals(panel, genes, changes)
        statistics = np.empty((len(genes), 1, len(ranges), len(simulation.STATISTICS)))
        simulation.simulate(panel, changes, ranges, settings.costs, statistics[:, 0])
        for lane, count in enumerate(changes.counts):
            found.update(changes.bars[lane, :count].tobytes())
            found.update(changes.targets[lane, :count].tobytes())
        found.update(statistics.tobytes())
        found.update(score(statistics, market.bars_per_year, settings).tobytes())
    return found.hexdigest()[:16]


@cache
def _market() -> Market:
    return synthetic(assets=2, bars=_BARS, seed=14)


@cache
def processor() -> str:
    """This machine's processor, as in ``AMD EPYC 7763 (znver3)``."""
    name = str(binding.get_host_cpu_name())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return f"{model} ({name})" if model else name
