"""Panels give kernels one kind of array, however the market came to the process."""

from __future__ import annotations

import pickle

import pytest

from ga.backtest.panel import panels
from ga.sources import synthetic


@pytest.mark.parametrize("sent", [False, True])
def test_rows_are_read_only_after_pickling(sent: bool) -> None:
    market = synthetic(assets=2, bars=300, seed=1)
    if sent:
        market = pickle.loads(pickle.dumps(market))
    for panel in panels(market):
        for row in (panel.open, panel.high, panel.low, panel.close, panel.volume, panel.funding):
            assert row is not None
            assert not row.flags.writeable
            assert row.flags.c_contiguous
