"""The members of each family: the genomes that its next children are bred from."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ga.operators import Floats, Ints

MEMBERS: Final = 30
"""Number of members of a family."""
FEWEST: Final = 8
"""Members that a family needs before children are bred from them."""
SETTLED: Final = 0.01
"""Largest difference of three quarters of the members from the best, as a share of its fitness, at
which a family restarts."""


class Members:
    """Places for genomes, a fixed number for each family.

    The children of a family compete for its places in turn, in index order: a child takes its place
    if its fitness is not below that of the genome there. So a good genome displaces one other and
    not all that are worse, and the members stay different. When they are alike, no child can
    differ much from them: the family restarts with random genomes.

    All follows from the generations so far: ``take`` with each of them gives the same members.
    """

    def __init__(self, families: int, width: int) -> None:
        self.genes: Floats = np.zeros((families, MEMBERS, width))
        """(F, M, G), without meaning at an empty place."""
        self.losses: Floats = np.full((families, MEMBERS), np.inf)
        """(F, M) negated fitness, infinite at an empty place."""
        self.restarts: Ints = np.zeros(families, np.int64)
        """(F,) how often each family restarted."""
        self._children: Ints = np.zeros(families, np.int64)

    def numbers(self, families: Ints) -> Ints:
        """(N,) the number of each child of a generation among those of its family since the
        family's last restart.

        Args:
            families: (N,) the family of each child.
        """
        found = np.empty(families.size, np.int64)
        for family, before in enumerate(self._children.tolist()):
            own = np.flatnonzero(families == family)
            found[own] = before + np.arange(own.size)
        return found

    def take(
        self, families: Ints, genes: Floats, losses: Floats, failed: NDArray[np.bool_]
    ) -> None:
        """Take a generation, and restart families whose members are alike.

        Args:
            families: (N,) the family of each child.
            genes: (N, G), losses: (N,) negated fitness, failed: (N,) children that cannot be
                members.
        """
        places = self.numbers(families) % MEMBERS
        rivals = self.losses[families, places]
        rows = np.flatnonzero((losses <= rivals) & np.isfinite(losses) & ~failed)
        # The best for each place comes first, of equal ones that with the lowest index.
        rows = rows[np.lexsort((losses[rows], families[rows] * MEMBERS + places[rows]))]
        wanted = families[rows] * MEMBERS + places[rows]
        rows = rows[np.flatnonzero(np.diff(wanted, prepend=-1))]
        self.genes[families[rows], places[rows]] = genes[rows]
        self.losses[families[rows], places[rows]] = losses[rows]
        self._children += np.bincount(families, minlength=self._children.size)
        ordered = np.sort(self.losses, axis=1)
        full = np.isfinite(ordered[:, -1])
        best = np.where(full, ordered[:, 0], 0.0)
        most = np.where(full, ordered[:, MEMBERS * 3 // 4], np.inf)
        alike = most - best <= SETTLED * np.abs(best)
        self.losses[alike] = np.inf
        self._children[alike] = 0
        self.restarts[alike] += 1
