"""The engine: trading strategies evolved by backtesting, on one machine or on a Ray cluster."""

__version__ = "0.1.0"
