"""Who fires with whom, read from the statistics of the online update.

With A = Σ z zᵀ and s = Σ z, atom m fires s_m² / A_mm times, with codes of the size A_mm / s_m, and
together with atom j A_mj divided by both sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CodeSums", "Firing", "companions", "firing"]

MISSING = 0.5
"""How often a companion may be missing, as a share of how often it is missing overall. Counted
without regard to the latter, features that fire on half of all samples would be everyone's."""
BLOCK = 1 << 22
"""Entries of A that are looked at together."""


class CodeSums(NamedTuple):
    """Sums over samples of what their codes z say about one another, weighted by forgetting.

    Attributes
    ----------
    products : ndarray of shape (M, M), float32
        A = Σ z zᵀ.
    codes : ndarray of shape (M,), float32
        s = Σ z.
    weight : float
        Σ 1.
    """

    products: NDArray[np.float32]
    codes: NDArray[np.float32]
    weight: float


class Firing(NamedTuple):
    """How atoms fire. Atoms that are mostly part of a sum with a negative sign do not.

    Attributes
    ----------
    uses : ndarray of shape (M,), float64
        How many times.
    sizes : ndarray of shape (M,), float64
        Of their codes, 0 where they do not fire.
    """

    uses: NDArray[np.float64]
    sizes: NDArray[np.float64]


def firing(sums: CodeSums) -> Firing:
    """Return how atoms fire."""
    energy, codes = sums.products.diagonal().astype(np.float64), sums.codes.astype(np.float64)
    fires = (codes > 0) & (energy > 0)
    nothing = np.zeros_like(energy)
    uses = np.divide(codes, energy, out=nothing.copy(), where=fires) * codes
    return Firing(uses, np.divide(energy, codes, out=nothing, where=fires))


def companions(sums: CodeSums, known: Firing) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield atoms that have companions, the most used first, and these.

    A companion of atom m is one that fires more often than m, and that is missing on the samples on
    which m fires at most half as often as elsewhere.

    Parameters
    ----------
    sums : CodeSums
    known : Firing
        What `firing` says of these.

    Yields
    ------
    int, ndarray of intp
    """
    uses, sizes = known
    codes, fires = sums.codes.astype(np.float64), uses > 0
    # Least n_mj / n_m, with n_mj = A_mj / (size_m size_j) and n_m = s_m / size_m.
    share = 1.0 - MISSING * (1.0 - uses / sums.weight)
    found: list[tuple[int, NDArray[np.intp]]] = []
    step = max(1, BLOCK // len(uses))
    for first in range(0, len(uses), step):
        rows = slice(first, first + step)
        least = np.outer(codes[rows], share * sizes)
        joint = (sums.products[rows] > least) & (uses > uses[rows, None]) & fires[rows, None]
        found += [(first + int(m), np.flatnonzero(joint[m])) for m in np.flatnonzero(joint.any(1))]
    yield from sorted(found, key=lambda pair: -uses[pair[0]])
