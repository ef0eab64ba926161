"""Atoms that hold one of their children.

Where there are fewer atoms than features, a parent p often holds a child c that has none: its atom
is cos θ p + sin θ c, and those of its other children, which do not fire with c, hold less of it in
turn. The sum of two atoms is then right whatever θ, and least squares prefer this to nothing for c
(feature hedging: Chanin, Dulka & Garriga-Alonso, arXiv:2505.11756). What gives it away is that
features lie in directions of their own. As children are orthogonal to their parent's atom
(`icfl.updates.disentangling`), those of other children f are in direction of

    f + sin θ u,    u = sin θ p - cos θ c

so they have a direction in common, and cosines of sin² θ / (1 + sin² θ) in the mean. Those of
unrelated directions are near 0, as those of most pairs of atoms are, so that the mean over the
pairs of three children or more tells which parents are meant. With θ and u known, so are the
features:

    p = cos θ d + sin θ u,    c = sin θ d - cos θ u

The parent's atom becomes p, u is taken from the children, and c is what a new atom is for.

The direction of the children's mean stands for u. With n of them a share of it is their own, and it
has a cosine of ρ with u, ρ² = n sin² θ / (1 + n sin² θ): with three and θ of 45 degrees 0.77, and p
comes out with a cosine of 0.89 instead of 0.71. With a place for each, sweeps then do the rest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.updates.disentangling import Parting
from icfl.updates.families import Families, taken_from

__all__ = ["Hedge", "hedges"]

FEWEST_CHILDREN = 3
"""Of two, the one pair tells too little: what is found is the mean of two features too often."""
DEVIATIONS = 4.0
"""How far their mean cosine has to be above that of all pairs of atoms, in standard deviations of
the mean of as many pairs. There are a hundred families or so, looked at every few steps."""
LEAST_COSINE = 0.15
"""Mean cosine from which on it is worth a place: a sixth of the parent's atom is then the child's,
by its square."""
LARGEST_SINE = 0.75
"""An atom with more of the child than of the parent would be the child's."""


class Hedge(NamedTuple):
    """An atom that holds one of its children.

    Attributes
    ----------
    parent : int
    children : ndarray of intp
        Those that have atoms.
    shared : ndarray of shape (d,), float64
        What stands for u, of unit norm and orthogonal to the parent's atom.
    sine : float
        sin θ.
    """

    parent: int
    children: NDArray[np.intp]
    shared: NDArray[np.float64]
    sine: float

    @property
    def members(self) -> list[int]:
        """Atoms that change."""
        return [self.parent, *self.children.tolist()]

    def parted(
        self, atoms: NDArray[np.float64], place: int
    ) -> tuple[dict[int, NDArray[np.float64]], list[Parting]]:
        """Return the new atom and those that change, of unit norm, and how codes follow."""
        sine, cosine = self.sine, math.sqrt(1.0 - self.sine**2)
        held, shared = atoms[self.parent], self.shared
        moved = {place: sine * held - cosine * shared, self.parent: cosine * held + sine * shared}
        partings = [Parting(self.parent, np.array([place]), np.array([sine], np.float32), cosine)]
        for child, share, left, direction in taken_from(atoms, self.children, shared):
            moved[child] = direction
            weights = np.array([share * sine, -share * cosine], dtype=np.float32)
            partings.append(Parting(child, np.array([self.parent, place]), weights, left))
        return moved, partings


def hedges(known: Families) -> list[Hedge]:
    """Return atoms that hold a child of theirs, the surest first."""
    found = []
    for family in known.each:
        n = len(family.children)
        total = family.turned.sum(axis=0)
        mean = float(family.cosines.sum() - family.cosines.trace()) / (n * (n - 1))
        deviations = known.deviations(mean, n * (n - 1) / 2)
        if mean > LEAST_COSINE and deviations > DEVIATIONS:
            sine = min(math.sqrt(mean / (1.0 - mean)) if mean < 0.5 else 1.0, LARGEST_SINE)
            shared = total / np.linalg.norm(total)
            found.append((deviations, Hedge(family.parent, family.children, shared, sine)))
    return [hedge for _, hedge in sorted(found, key=lambda pair: -pair[0])]
