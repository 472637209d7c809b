"""Walk-forward folds: in-sample, out-of-sample and hold-out bars of a market."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ga.errors import InputError
from ga.evaluation.settings import Settings
from ga.market import Market
from ga.typing import Ints


@dataclass(frozen=True, kw_only=True)
class Split:
    """Bar ranges [start, stop) of each part, each (F, 2)."""

    in_sample: Ints
    out_of_sample: Ints
    """(0, 2) if the settings have none."""


def visible(market: Market, settings: Settings) -> Market:
    """The market without its hold-out; workers never receive more.

    Raises:
        InputError: too few bars for the folds.
    """
    bars = int(market.bars * (1.0 - settings.holdout))
    parts = split(bars, settings)
    if int(np.diff(parts.in_sample).min()) < 15:
        raise InputError(
            f"market {market.name}: {bars} bars before the hold-out are too few for"
            f" {settings.folds} folds; give a longer history or fewer folds"
        )
    return market.head(bars)


@lru_cache(maxsize=64)
def split(bars: int, settings: Settings) -> Split:
    """Cut ``bars`` visible bars into equal, consecutive folds after the warm-up.

    Each fold is in-sample | purge | out-of-sample | purge and embargo.
    """
    edges = np.linspace(int(bars * settings.warm_up), bars, settings.folds + 1).astype(np.int64)
    inside, outside = [], []
    gap = settings.purge + int(settings.embargo * bars)
    for start, stop in pairwise(edges.tolist()):
        until = stop - gap
        turn = start + round((until - start) * (1.0 - settings.out_of_sample))
        if settings.out_of_sample:
            inside.append((start, turn - settings.purge))
            outside.append((turn, until))
        else:
            inside.append((start, until))
    return Split(
        in_sample=np.array(inside, dtype=np.int64),
        out_of_sample=np.array(outside, dtype=np.int64).reshape(-1, 2),
    )
