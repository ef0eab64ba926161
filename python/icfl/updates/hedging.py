"""Atoms that hold one of their children give it a place of its own.

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

The parent's atom becomes p, u is taken from the children, and c takes the place of the atom that
explains least, if it explains less than c will. Codes are rewritten as when atoms are taken apart.

The direction of the children's mean stands for u. With n of them a share of it is their own, and it
has a cosine of ρ with u, ρ² = n sin² θ / (1 + n sin² θ): with three and θ of 45 degrees 0.77, and p
comes out with a cosine of 0.89 instead of 0.71. With a place for each, sweeps then do the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.updates.companions import Firing, companions, firing
from icfl.updates.disentangling import LEAST_LEFT, Parting

__all__ = ["Hedge", "hedges", "released"]

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
    atom : int
        The parent.
    children : ndarray of intp
        Those that have atoms.
    shared : ndarray of shape (d,), float64
        What stands for u, of unit norm and orthogonal to the atom.
    sine : float
        sin θ.
    """

    atom: int
    children: NDArray[np.intp]
    shared: NDArray[np.float64]
    sine: float


def hedges(
    atoms: NDArray[np.float64],
    code_products: NDArray[np.float32],
    code_sums: NDArray[np.float32],
    weight: float,
) -> list[Hedge]:
    """Return atoms that hold a child of theirs, the surest first.

    Parameters
    ----------
    atoms : ndarray of shape (M, d), float64
        Of unit norm.
    code_products : ndarray of shape (M, M), float32
        A = Σ z zᵀ.
    code_sums : ndarray of shape (M,), float32
        s = Σ z.
    weight : float
        Σ 1.

    Returns
    -------
    list of Hedge
    """
    known = firing(code_products, code_sums)
    usual, spread = _unrelated(atoms[known.uses > 1.0])
    found = []
    for atom, children in _families(code_products, code_sums, weight, known):
        turned = atoms[children] - np.outer(atoms[children] @ atoms[atom], atoms[atom])
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), LEAST_LEFT)
        n_pairs = len(children) * (len(children) - 1) / 2
        total = turned.sum(axis=0)
        mean = (float(total @ total) - float(np.square(turned).sum())) / (2 * n_pairs)
        deviations = (mean - usual) * math.sqrt(n_pairs) / spread
        if mean > LEAST_COSINE and deviations > DEVIATIONS:
            sine = min(math.sqrt(mean / (1.0 - mean)) if mean < 0.5 else 1.0, LARGEST_SINE)
            shared = total / np.linalg.norm(total)
            found.append((deviations, Hedge(atom, children, shared, sine)))
    return [hedge for _, hedge in sorted(found, key=lambda pair: -pair[0])]


def released(
    components: NDArray[np.float32],
    code_products: NDArray[np.float32],
    code_sums: NDArray[np.float32],
    weight: float,
) -> tuple[NDArray[np.float32], list[Parting], NDArray[np.int64]]:
    """Return atoms of which none holds a child, as far as there are places for the children.

    Parameters
    ----------
    components : ndarray of shape (M, d), float32
        Atoms, of any norm, which parents and their children keep.
    code_products : ndarray of shape (M, M), float32
        A = Σ z zᵀ.
    code_sums : ndarray of shape (M,), float32
        s = Σ z.
    weight : float
        Σ 1.

    Returns
    -------
    components : ndarray of shape (M, d), float32
        The atoms; a new array.
    partings : list of Parting
        What was done, in this order, once the statistics of `places` are cleared.
    places : ndarray of int64
        Atoms that gave way to a child.
    """
    norms = np.linalg.norm(components.astype(np.float64), axis=1)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    atoms = components * scale[:, None]
    explained = np.square(norms) * code_products.diagonal()
    least_first = np.argsort(explained, kind="stable").tolist()
    result, partings, places = components.copy(), list[Parting](), list[int]()
    touched = set[int]()
    for hedge in hedges(atoms, code_products, code_sums, weight):
        family = {hedge.atom, *hedge.children.tolist()}
        place = next((i for i in least_first if i not in touched | family), None)
        if place is None or touched & family:
            continue
        directions, own = _without_child(atoms, hedge, place)
        if explained[place] >= _explained(own, norms, code_products):
            continue
        touched |= {place, *family}
        places.append(place)
        norms[place] = norms[hedge.atom]
        moved = list(directions)
        result[moved] = norms[moved, None] * np.stack(list(directions.values()))
        # Of unit atoms so far.
        for one in own:
            weights = one.weights * (norms[one.atom] / norms[one.others])
            partings.append(one._replace(weights=weights.astype(np.float32)))
    return result, partings, np.array(places, dtype=np.int64)


def _unrelated(atoms: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and root mean square of the cosines of all pairs of unit atoms."""
    n_pairs = max(len(atoms) * (len(atoms) - 1), 1)
    total, moments = atoms.sum(axis=0), atoms.T @ atoms
    mean = (float(total @ total) - len(atoms)) / n_pairs
    square = (float(np.square(moments).sum()) - len(atoms)) / n_pairs
    return mean, math.sqrt(max(square, np.finfo(np.float64).eps))


def _families(
    code_products: NDArray[np.float32],
    code_sums: NDArray[np.float32],
    weight: float,
    known: Firing,
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield atoms with children enough, and these: a parent is the least used companion."""
    parents = np.full(len(known.uses), -1, dtype=np.intp)
    for atom, others in companions(code_products, code_sums, weight, known):
        if known.uses[atom] > 1.0:
            parents[atom] = others[np.argmin(known.uses[others])]
    for parent in np.unique(parents[parents >= 0]).tolist():
        children = np.flatnonzero(parents == parent)
        if len(children) >= FEWEST_CHILDREN:
            yield parent, children


def _without_child(
    atoms: NDArray[np.float64], hedge: Hedge, place: int
) -> tuple[dict[int, NDArray[np.float64]], list[Parting]]:
    """Return unit atoms of the child, its parent and the other children, and how to get there."""
    sine, cosine = hedge.sine, math.sqrt(1.0 - hedge.sine**2)
    held, shared = atoms[hedge.atom], hedge.shared
    moved = {place: sine * held - cosine * shared, hedge.atom: cosine * held + sine * shared}
    partings = [Parting(hedge.atom, np.array([place]), np.array([sine], np.float32), cosine)]
    for child in hedge.children.tolist():
        share = float(atoms[child] @ shared)
        rest = atoms[child] - share * shared
        left = float(np.linalg.norm(rest))
        if left > LEAST_LEFT:
            moved[child] = rest / left
            weights = np.array([share * sine, -share * cosine], dtype=np.float32)
            partings.append(Parting(child, np.array([hedge.atom, place]), weights, left))
    return moved, partings


def _explained(
    partings: list[Parting], norms: NDArray[np.float64], code_products: NDArray[np.float32]
) -> float:
    """Return Σ of the squared codes that the child, the last of all others, will have."""
    atoms = [one.atom for one in partings]
    shares = norms[atoms] * [float(one.weights[-1]) for one in partings]
    return float(shares @ code_products[np.ix_(atoms, atoms)] @ shares)
