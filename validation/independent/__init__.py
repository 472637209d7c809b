"""Backtests in plain Python and NumPy that share no code with the engine, to check its results."""
