"""The import package of ``fixtures/``, ``reports/`` and ``benchmarks/``.

An installed package of one of these names would hide other people's. So their code is imported as
``evolution_gate.fixtures`` and so on: in a checkout through the symbolic links of this folder, in
a wheel from folders.
"""
