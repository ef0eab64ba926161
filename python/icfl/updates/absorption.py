"""Parents that have no atom, as their children's atoms hold them.

A parent p fires with one of its children f mostly, and "p and f" in one atom each saves a non-zero
(absorption: Chanin et al., arXiv:2409.14507). Two such atoms have a cosine that may be below what
two unrelated ones reach (`icfl.updates.disentangling.limit_for`). Three of them and more have not,
in the mean, and they are looked for only among atoms that have the same companion, which p and its
children do not fire without either. Their mean direction is what a new atom is for, and is taken
from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.updates.disentangling import Parting
from icfl.updates.families import Families, Family, taken_from

__all__ = ["Absorbed", "absorbed"]

FIRST = 3
"""Atoms that are looked for first. Others join them."""
NEAR = 1.5
"""Least cosine of the first two, in root mean squares of all cosines."""
DEVIATIONS = 5.0
"""How far the mean cosine of the first three has to be above the usual, in standard deviations of
the mean of three. There are many more of them than there are families."""
LEAST_COSINE = 0.3
"""Mean cosine of the first three, at least. In many dimensions the above is far less, and finds
what is left of parents that have atoms: F1 of ``benches.science planted --scale 0.25 --passes 2``
is 0.955 without this limit and 0.969 with it (seed 0)."""
DEVIATIONS_TO_JOIN, LEAST_TO_JOIN = 3.5, 0.25
"""The same for those that join, of their mean cosine with those that are there."""


class Absorbed(NamedTuple):
    """Atoms that hold a parent of theirs.

    Attributes
    ----------
    children : ndarray of intp
    shared : ndarray of shape (d,), float64
        Their mean direction, of unit norm.
    """

    children: NDArray[np.intp]
    shared: NDArray[np.float64]

    @property
    def members(self) -> list[int]:
        """Atoms that change."""
        return [int(child) for child in self.children]

    def parted(
        self, atoms: NDArray[np.float64], place: int
    ) -> tuple[dict[int, NDArray[np.float64]], list[Parting]]:
        """Return the new atom and those that change, of unit norm, and how codes follow."""
        moved, partings = {place: self.shared}, list[Parting]()
        for child, share, left, direction in taken_from(atoms, self.children, self.shared):
            moved[child] = direction
            weights = np.array([share], dtype=np.float32)
            partings.append(Parting(child, np.array([place]), weights, left))
        return moved, partings


def absorbed(known: Families) -> list[Absorbed]:
    """Return atoms that hold a parent that has none, the surest first."""
    found = []
    for family in known.each:
        for deviations, group in _groups(family, known):
            total = family.turned[group].sum(axis=0)
            one = Absorbed(family.children[group], total / np.linalg.norm(total))
            found.append((deviations, one))
    return [one for _, one in sorted(found, key=lambda pair: -pair[0])]


def _groups(family: Family, known: Families) -> Iterator[tuple[float, list[int]]]:
    """Yield groups of children that are near one another, and how unusual that is.

    If all children are, it is their parent that holds one: `icfl.updates.hedging`.
    """
    n = len(family.children)
    if n <= FIRST:
        return
    cosines = family.cosines.copy()
    np.fill_diagonal(cosines, 0.0)
    first, second = np.nonzero(np.triu(cosines > known.usual + NEAR * known.spread, 1))
    for pair in np.argsort(-cosines[first, second], kind="stable"):
        group = [int(first[pair]), int(second[pair])]
        joining = cosines[group].sum(axis=0)
        joining[group] = -np.inf
        group.append(int(joining.argmax()))
        mean = float(cosines[np.ix_(group, group)].sum()) / 6
        deviations = known.deviations(mean, 3)
        if deviations <= DEVIATIONS or mean <= LEAST_COSINE:
            continue
        while len(group) < n:
            joining = cosines[group].mean(axis=0)
            joining[group] = -np.inf
            best = int(joining.argmax())
            near = float(joining[best])
            if near < LEAST_TO_JOIN or known.deviations(near, len(group)) < DEVIATIONS_TO_JOIN:
                break
            group.append(best)
        if len(group) < n:
            cosines[group], cosines[:, group] = -1.0, -1.0
            yield deviations, group
