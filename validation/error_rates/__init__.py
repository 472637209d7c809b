"""Error rates of the gate: how often it misses a planted defect, and fails a healthy system."""
