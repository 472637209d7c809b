"""Benchmarks: kernels, peers, whole evolutions, and scale-out.

``python -m evolution_gate.benchmarks`` runs all.

No benchmark passes or fails by a time: results are recorded with their raw samples and the machine.
The benchmarks only assert that compared programs do the same work.
"""
