"""Where genomes are evaluated: worker processes on this machine, or a Ray cluster."""
