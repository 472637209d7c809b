"""How fast it is: kernels, peers, one whole evolution, and scale-out.

``python -m evolution_gate.benchmarks`` runs all.

Nothing here passes or fails by a time: numbers are recorded with their raw samples and the machine
they were taken on. What is asserted is that the compared programs did the same work.
"""
