"""The HTTP service: accepts evolutions, runs them in child processes, and reports their state."""
