"""What every genome of every family must keep."""

from __future__ import annotations

import math

from ga.families import get_family
from ga.genome import Genome


def lawful(genome: Genome) -> bool:
    """Whether its genes are within their bounds, and whole where they must be."""
    genes = get_family(genome.family).genes
    return len(genes) == len(genome.genes) and all(
        g.low <= v <= g.high and math.isfinite(v) and (not g.integer or v == int(v))
        for g, v in zip(genes, genome.genes, strict=True)
    )
