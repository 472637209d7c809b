"""Paper trading: positions on a market that grows, their record, and its check by the backtest."""
