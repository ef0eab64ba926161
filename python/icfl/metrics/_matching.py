"""One-to-one matching of atoms at the largest total cosine, where cosines fit in memory or not.

Small: all cosines, and the Hungarian method.

Large: for each atom of the smaller dictionary its k nearest atoms of the other, found by blocks of
the product, and a sparse assignment among those (LAPJVsp, Jonker and Volgenant 1987). An atom may
also stay aside, at the value of its k-th candidate: no atom that is not a candidate is nearer. So
every one-to-one matching is worth at most what this assignment is worth, and the answer comes with
a bound on what it can have lost. Atoms left aside are matched among what is left over, in the same
two ways with twice as many candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

Sign = Literal["signed", "absolute"]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

# Blocks of cosines of 2^24 float64 values (128 MiB).
_BLOCK_VALUES = 1 << 24
# Cosines are moved to [1, 3]: the sparse assignment does not know an edge of weight 0.
_SHIFT = 2.0


@dataclass(frozen=True, eq=False)
class Matching:
    """Partners of the rows of `few` among the rows of `many`.

    Attributes
    ----------
    indices : ndarray of shape (n_few,), intp
        Partners, all different.
    cosines : ndarray of shape (n_few,), float64
    nearest_few : ndarray of shape (n_few,), float64
        Cosine of each row of `few` with its nearest row of `many`, which several may share.
    nearest_many : ndarray of shape (n_many,), float64
        The same from the other side.
    max_loss : float
        The mean of `cosines` is at most this much below that of the best matching; 0 where the
        matching is the best one.
    """

    indices: Indices
    cosines: Floats
    nearest_few: Floats
    nearest_many: Floats
    max_loss: float


def match_rows(
    few: Floats, many: Floats, sign: Sign, *, max_bytes: int, n_candidates: int
) -> Matching:
    """Match unit rows `few` (n_few, d) with unit rows `many` (n_many, d), n_few <= n_many.

    Exactly, if their cosines take at most `max_bytes` as float64; else among the `n_candidates`
    nearest of each row.
    """
    if 8 * len(few) * len(many) <= max_bytes or n_candidates >= len(many):
        return match_all(few, many, sign)
    return _sparse(few, many, sign, max_bytes, n_candidates)


def cosines_of(few: Floats, many: Floats, sign: Sign) -> Floats:
    """Return the cosines (n_few, n_many) of unit rows, in one array of that size."""
    values: Floats = few @ many.T
    np.clip(values, -1.0, 1.0, out=values)
    return np.abs(values, out=values) if sign == "absolute" else values


def match_all(few: Floats, many: Floats, sign: Sign) -> Matching:
    """Match by all cosines, which are held once, in float64."""
    values = cosines_of(few, many, sign)
    nearest_few, nearest_many = values.max(axis=1), values.max(axis=0)
    # Negated in place: asked to maximise, SciPy would take a copy.
    _, indices = linear_sum_assignment(np.negative(values, out=values))
    cosines = -values[np.arange(len(few)), indices]
    return Matching(indices, cosines, nearest_few, nearest_many, 0.0)


def _sparse(few: Floats, many: Floats, sign: Sign, max_bytes: int, n_candidates: int) -> Matching:
    places, values, nearest_many = _candidates(few, many, sign, n_candidates)
    indices, worth = _assign(places, values, len(many))
    cosines = np.zeros(len(few))
    taken = indices >= 0
    aside, spare = np.flatnonzero(~taken), np.setdiff1d(np.arange(len(many)), indices[taken])
    if len(aside):
        rest = match_rows(
            few[aside], many[spare], sign, max_bytes=max_bytes, n_candidates=2 * n_candidates
        )
        indices[aside], cosines[aside] = spare[rest.indices], rest.cosines
    # A candidate's cosine, in the order of its row.
    cosines[taken] = values[taken][places[taken] == indices[taken, None]]
    # Below zero only by rounding, where nobody stayed aside.
    max_loss = max(0.0, float(worth - cosines.mean())) if len(aside) else 0.0
    return Matching(indices, cosines, values.max(axis=1), nearest_many, max_loss)


def _candidates(
    few: Floats, many: Floats, sign: Sign, n_candidates: int
) -> tuple[Indices, Floats, Floats]:
    """Return places and cosines (n_few, n_candidates) of the nearest, and `nearest_many`."""
    places = np.empty((len(few), n_candidates), dtype=np.intp)
    values = np.empty((len(few), n_candidates))
    nearest_many = np.full(len(many), -np.inf)
    step = max(1, _BLOCK_VALUES // len(many))
    for start in range(0, len(few), step):
        rows = slice(start, start + step)
        block = cosines_of(few[rows], many, sign)
        np.maximum(nearest_many, block.max(axis=0), out=nearest_many)
        split = len(many) - n_candidates
        places[rows] = np.argpartition(block, split, axis=1)[:, split:]
        values[rows] = np.take_along_axis(block, places[rows], axis=1)
    return places, values, nearest_many


def _assign(places: Indices, values: Floats, n_many: int) -> tuple[Indices, float]:
    """Return the best partner of each row among its candidates, -1 for those that stay aside.

    And the mean worth of that assignment, those aside counting with their last candidate.
    """
    n_few = len(places)
    columns = np.hstack([places, n_many + np.arange(n_few)[:, None]])
    weights = np.hstack([values, values.min(axis=1, keepdims=True)]) + _SHIFT
    starts = np.arange(n_few + 1) * columns.shape[1]
    # A matrix, not an array: early versions of SciPy with arrays take only these here.
    graph = sparse.csr_matrix(
        (weights.ravel(), columns.ravel(), starts), shape=(n_few, n_many + n_few)
    )
    rows, found = min_weight_full_bipartite_matching(graph, maximize=True)
    partners = np.empty(n_few, dtype=np.intp)
    partners[rows] = found
    worth = np.where(columns == partners[:, None], weights - _SHIFT, 0.0).sum() / n_few
    return np.where(partners < n_many, partners, -1), float(worth)
