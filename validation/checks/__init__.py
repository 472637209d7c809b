"""Verdict functions: pooled records in, one verdict out. Grouped by what they judge."""
