"""Settings, identity and outcome of an evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from ga.backtest.simulation import Costs
from ga.errors import InputError
from ga.families import KERNEL_VERSION
from ga.genome import Genome


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything besides genome and market that an evaluation's result depends on."""

    costs: Costs = field(default_factory=Costs)
    folds: int = 4
    """Number of walk-forward folds: consecutive parts of the history. The fitness is averaged over
    the in-sample part of each; evolution never uses the out-of-sample part after it.
    """
    out_of_sample: float = 0.25
    """Share of a fold that is out-of-sample."""
    purge: int = 5
    """Bars between two parts that neither includes: as many as the learned families look ahead."""
    embargo: float = 0.01
    """Share of the history that is skipped after each out-of-sample part, so that its information
    is not used again (Lopez de Prado, 2018, ch. 7).
    """
    holdout: float = 0.2
    """Share of the history at its end; measured once, for the final strategies."""
    warm_up: float = 0.1
    """Share of the history at its start; traded but not measured, because rules need earlier
    bars.
    """
    min_trades: int = 10
    """Fills that a fold needs on an asset for its Sharpe ratio to count in full: below, a ratio
    above zero is scaled down in proportion, so that one lucky trade is not a strategy."""

    def __post_init__(self) -> None:
        if not 1 <= self.folds <= 100:
            raise InputError(f"folds must be 1..100, not {self.folds}")
        if not 0.0 <= self.holdout <= 0.9:
            raise InputError(f"holdout must be 0..0.9, not {self.holdout}")
        if not 0.0 <= self.out_of_sample <= 0.8:
            raise InputError(f"out_of_sample must be 0..0.8, not {self.out_of_sample}")
        if not 0 <= self.min_trades <= 10_000:
            raise InputError(f"min_trades must be 0..10000, not {self.min_trades}")
        if self.purge < 0 or not 0.0 <= self.embargo <= 0.2:
            raise InputError("purge must not be negative and embargo must be 0..0.2")
        for name, value in asdict(self.costs).items():
            if not 0.0 <= value < 0.5:
                raise InputError(f"{name} must be a fraction from 0 to below 0.5, not {value}")

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the settings and the version of the kernels."""
        text = json.dumps({**asdict(self), "kernels": KERNEL_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


OUT_OF_MEMORY: Final = "out of memory"
"""The error of a genome that needs more memory than it may use."""


class Outcome(NamedTuple):
    """The result of one evaluation. If it failed, ``error`` is set and there is no fitness."""

    key: str
    fitness: float | None
    """See ``score``."""
    trades: int = 0
    """Fills over all assets and folds."""
    max_drawdown: float = 0.0
    """Largest drawdown of any asset and fold, as a fraction."""
    error: str | None = None


def evaluation_keys(genomes: Iterable[Genome], market_hash: str, settings: Settings) -> list[str]:
    """The identities of evaluations: family, genes, market, settings and kernel version."""
    base, keys = _key_base(market_hash, settings.hash), []
    for genome in genomes:
        digest = base.copy()
        digest.update(genome.packed)
        keys.append(digest.hexdigest())
    return keys


def evaluation_key(genome: Genome, market_hash: str, settings: Settings) -> str:
    """The identity of one evaluation."""
    return evaluation_keys([genome], market_hash, settings)[0]


def key_prefix(market_hash: str, settings_hash: str) -> bytes:
    """What the message that a key is the SHA-256 of begins with, before the packed genome."""
    return f"{market_hash}\x00{settings_hash}\x00".encode()


@lru_cache(maxsize=64)
def _key_base(market_hash: str, settings_hash: str) -> hashlib._Hash:
    return hashlib.sha256(key_prefix(market_hash, settings_hash))
