"""Atoms as families: a parent, the children that do not fire without it, and what these share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.updates.companions import CodeSums, companions, firing
from icfl.updates.disentangling import LEAST_LEFT

__all__ = ["Families", "Family", "families", "taken_from"]

MOST_CHILDREN = 512
"""The most used are looked at."""


class Family(NamedTuple):
    """A parent and its children.

    Attributes
    ----------
    parent : int
    children : ndarray of shape (n,), intp
    turned : ndarray of shape (n, d), float64
        Directions of the children's atoms without the parent's.
    cosines : ndarray of shape (n, n), float64
        Of these.
    """

    parent: int
    children: NDArray[np.intp]
    turned: NDArray[np.float64]
    cosines: NDArray[np.float64]


class Families(NamedTuple):
    """All families, and what is usual among all atoms.

    Attributes
    ----------
    each : list of Family
    usual : float
        Mean cosine of all pairs of atoms that are used.
    spread : float
        Root mean square of these.
    """

    each: list[Family]
    usual: float
    spread: float

    def deviations(self, mean: float, n_pairs: float) -> float:
        """Return how unusual a mean cosine is, in standard deviations of that of as many pairs."""
        return (mean - self.usual) * math.sqrt(n_pairs) / self.spread


def families(atoms: NDArray[np.float64], sums: CodeSums, fewest: int) -> Families:
    """Return families of some size: an atom's parent is the least used of its companions.

    Parameters
    ----------
    atoms : ndarray of shape (M, d), float64
        Of unit norm.
    sums : CodeSums
        Of their codes.
    fewest : int
        Children of the smallest families.

    Returns
    -------
    Families
    """
    known = firing(sums)
    used = known.uses > 1.0
    parents = np.full(len(atoms), -1, dtype=np.intp)
    for atom, others in companions(sums, known):
        if used[atom]:
            parents[atom] = others[np.argmin(known.uses[others])]
    each = []
    for parent in np.unique(parents[parents >= 0]).tolist():
        children = np.flatnonzero(parents == parent)
        if len(children) >= fewest:
            most_used = np.argsort(-known.uses[children], kind="stable")[:MOST_CHILDREN]
            each.append(_family(atoms, parent, np.sort(children[most_used])))
    return Families(each, *_unrelated(atoms[used]))


def taken_from(
    atoms: NDArray[np.float64], children: NDArray[np.intp], shared: NDArray[np.float64]
) -> Iterator[tuple[int, float, float, NDArray[np.float64]]]:
    """Take a direction from unit atoms.

    Parameters
    ----------
    atoms : ndarray of shape (M, d), float64
    children : ndarray of shape (n,), intp
        Which.
    shared : ndarray of shape (d,), float64
        Of unit norm.

    Yields
    ------
    child : int
        Each of which enough is left, d_m = share · shared + left · d'_m.
    share, left : float
    direction : ndarray of shape (d,), float64
        d'_m, of unit norm.
    """
    for child in children.tolist():
        share = float(atoms[child] @ shared)
        rest = atoms[child] - share * shared
        left = float(np.linalg.norm(rest))
        if left > LEAST_LEFT:
            yield child, share, left, rest / left


def _family(atoms: NDArray[np.float64], parent: int, children: NDArray[np.intp]) -> Family:
    turned = atoms[children] - np.outer(atoms[children] @ atoms[parent], atoms[parent])
    turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), LEAST_LEFT)
    return Family(parent, children, turned, turned @ turned.T)


def _unrelated(atoms: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and root mean square of the cosines of all pairs of unit atoms."""
    n_pairs = max(len(atoms) * (len(atoms) - 1), 1)
    total, moments = atoms.sum(axis=0), atoms.T @ atoms
    mean = (float(total @ total) - len(atoms)) / n_pairs
    square = (float(np.square(moments).sum()) - len(atoms)) / n_pairs
    return mean, math.sqrt(max(square, np.finfo(np.float64).eps))
