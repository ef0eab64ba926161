"""Atoms that hold more than one feature are taken apart.

Where features form a hierarchy (a kind of cell, and its state) the child fires only with its
parent, and "parent and child" in one atom saves a non-zero: sparsity and reconstruction prefer it
to the two atoms, whatever is true (absorption: Chanin et al., arXiv:2409.14507). What decides
against it here is that features lie in directions of their own:

- A *companion* of atom m is there on nearly all samples on which m fires, and on others
  (`icfl.updates.companions`). As its coefficient can make good for any part of it in d_m, data say
  nothing about that part, and d_m gives it up: it becomes orthogonal to its companions.
- Two atoms may hold the same feature and never fire together, as "parent" and "parent and child"
  do. Of two with a larger cosine than `limit_for` says, the less used one keeps what is orthogonal
  to the other. Atoms that are so near that the coherence limit calls one of them redundant are left
  to replacement: what is left of such an atom is noise.

Taken alone this would not last. The statistics are of codes by the atoms as they were, "parent and
child" among them, and the next sweep would move the atoms back to where those codes have their
optimum. So codes are rewritten along with atoms. With

    d_m = Σ_o w_o d_o + l d'_m

a sample of code z has the same reconstruction by z_o + w_o z_m and l z_m, and sums of products of
these follow from sums of products of z (`_core.OnlineUpdate.recode`). Nothing is forgotten, and
where the old atoms were optimal for the old codes, the new ones are for the new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl.updates.companions import CodeSums, companions, firing

__all__ = ["Parting", "disentangled", "limit_for"]

LOWEST_LIMIT = 0.3
"""Two of three features in common have a cosine of 0.82, one of two 0.71, one of two each 0.5;
atoms on the way there have less."""
HIGH_LIMIT = 0.4
"""Above it more is missed: with 0.48, F1 of ``benches.science planted --scale 0.1 --passes 2`` is
0.939 ± 0.005 instead of 0.943 ± 0.001 (3 seeds)."""
LEAST_LEFT = 0.2
"""Norm of what has to be left of a unit atom, where the coherence limit does not ask for more."""
CONDITION = 0.05
"""Directions in which the others are smaller than this, relative to the largest, are not theirs."""


class Parting(NamedTuple):
    """How an atom is written by others and by what takes its place, d_m = Σ_o w_o d_o + l d'_m.

    Attributes
    ----------
    atom : int
        m.
    others : ndarray of shape (n_others,), int64
        The others o, which are as they were before, or after their own parting if that came first.
    weights : ndarray of shape (n_others,), float32
        w.
    left : float
        l, of the atom's norm.
    """

    atom: int
    others: NDArray[np.int64]
    weights: NDArray[np.float32]
    left: float


def limit_for(n_components: int, n_features: int) -> float:
    """Return the cosine above which two atoms hold something in common.

    Of M random directions in d dimensions hardly any pair has a cosine above sqrt(3 ln M / d),
    sqrt(M) / 20 of them or so. Where that is so high that much of what is shared would be missed,
    as many as M / 18 pairs are put up with, those above sqrt(2 ln M / d). Above 1 nothing is.
    """
    few, some = (math.sqrt(c * math.log(max(n_components, 2)) / n_features) for c in (3.0, 2.0))
    return max(LOWEST_LIMIT, min(few, max(HIGH_LIMIT, some)))


def disentangled(
    components: NDArray[np.float32],
    sums: CodeSums,
    coherence_limit: float,
    n_jobs: int | None,
) -> tuple[NDArray[np.float32], list[Parting], NDArray[np.int64]]:
    """Return atoms without what others hold.

    Parameters
    ----------
    components : ndarray of shape (M, d), float32
        Atoms, of any norm, which they keep.
    sums : CodeSums
        Of their codes.
    coherence_limit : float
        Cosine above which an atom is redundant beside others, and left alone here.
    n_jobs : int or None
        Threads.

    Returns
    -------
    components : ndarray of shape (M, d), float32
        The atoms; a new array.
    partings : list of Parting
        What was done, in this order.
    apart : ndarray of int64
        Atoms that shared a direction with one that they do not fire with.
    """
    norms = np.linalg.norm(components, axis=1)
    scale = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    atoms = components * scale[:, None]
    known = firing(sums)
    least = max(LEAST_LEFT, math.sqrt(1.0 - coherence_limit**2))
    parting = [_parted(atoms, atom, others, least) for atom, others in companions(sums, known)]
    limit = limit_for(*components.shape)
    shared = list(_without_shared(atoms, known.uses, limit, least, n_jobs)) if limit < 1.0 else []
    done = [one for one in parting + shared if one is not None]
    # The others keep their bits.
    moved = sorted({one.atom for one in done})
    result = components.copy()
    result[moved] = atoms[moved] * norms[moved, None]
    # Of unit atoms so far.
    partings = [p._replace(weights=p.weights * scale[p.others] * norms[p.atom]) for p in done]
    return result, partings, np.array(sorted({p.atom for p in shared}), dtype=np.int64)


def _without_shared(
    atoms: NDArray[np.float32],
    uses: NDArray[np.float64],
    limit: float,
    least: float,
    n_jobs: int | None,
) -> Iterator[Parting]:
    """Take from atoms, in place, what more used ones hold."""
    pairs = np.array(_core.coherent_atoms(atoms, limit, n_jobs), dtype=np.int64)
    rank = np.empty(len(uses), dtype=np.int64)
    rank[np.argsort(-uses, kind="stable")] = np.arange(len(uses))
    before = np.where(rank[pairs[0]] < rank[pairs[1]], pairs, pairs[::-1])
    for atom in sorted(set(before[1].tolist()), key=rank.__getitem__):
        others = before[0][before[1] == atom]
        # Those before it may have turned meanwhile.
        others = others[atoms[others] @ atoms[atom] > limit]
        parting = _parted(atoms, atom, others, least) if len(others) else None
        if parting is not None:
            yield parting


def _parted(
    atoms: NDArray[np.float32], atom: int, others: NDArray[np.intp], least: float
) -> Parting | None:
    """Make a unit atom orthogonal to others, in place, if enough of it is left."""
    basis = atoms[others].T.astype(np.float64)
    direction = atoms[atom].astype(np.float64)
    weights = np.linalg.lstsq(basis, direction, rcond=CONDITION)[0]
    direction -= basis @ weights
    left = float(np.linalg.norm(direction))
    if left < least:
        return None
    atoms[atom] = direction / left
    return Parting(atom, others.astype(np.int64), weights.astype(np.float32), left)
