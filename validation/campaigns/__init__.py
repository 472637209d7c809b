"""Campaigns: which stages are run, in which order, on which target."""
