"""Capacity planning: nodes, time and dollars for a workload, from measured costs."""
