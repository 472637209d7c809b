"""Evolve with the Python API: a market of a data frame, the best strategies, and their equity.

A script needs no ``if __name__ == "__main__"``: worker processes do not load it.
"""

import numpy as np
import pandas as pd

import ga

# A random walk, as a frame with the usual columns and an index of times.
steps = np.random.default_rng(1).normal(0.0, 0.01, 1500)
close = 100.0 * np.exp(np.cumsum(steps))
opened = np.concatenate([[100.0], close[:-1]])
prices = pd.DataFrame(
    {
        "Open": opened,
        "High": np.maximum(opened, close) * 1.002,
        "Low": np.minimum(opened, close) * 0.998,
        "Close": close,
        "Volume": 1000.0,
    },
    index=pd.date_range("2024-01-01", periods=1500, freq="h", tz="UTC"),
)

market = ga.load_market(prices, name="WALK")
run = ga.evolve(market, seed=7, population_size=40, generations=3, progress=False)
print(run.strategies.round(3).to_string(index=False))
print(run.edge)
print(run.equity.iloc[[0, -1]].round(3))

# Positions on any market: fractions of equity from -1 to 1, here on the last three bars.
print(run.best.name)
print(run.best.signals(market).tail(3).round(3))

try:
    ga.load_market(prices.assign(close=1.0))
except ga.InputError as error:
    print(f"refused: {error}")
