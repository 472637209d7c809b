"""Criteria of the gate: each one's statement, target and verdict function."""
