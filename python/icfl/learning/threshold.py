"""Thresholds that set themselves: one for each atom, higher for rows of which more is left.

Whether a row holds an atom is told by p, the inner product of the atom (of unit norm) with what the
row's other atoms leave of it. Where it does, as a share f of all rows do, p is near the size τ of
codes. Where it does not, p is what everything that has no atom adds up to along it: with r what all
atoms of the row leave of it, normal with a variance of ‖r‖² / d or so. So that the atom is there is
the likelier of the two where

    p > τ / 2 + (‖r‖² / d) log(1/f) / τ

and the threshold is t + slope ‖r‖², with

    t = share · τ      τ = Σ z² / Σ |z|      slope = (c + mean of log 1/f) / (d τ)

over all codes z of the last steps; the mean is over atoms that fired at all in these. In τ large
codes count most, so that small ones, mistakes among them, hardly lower it. The share is less than
a half, and c is there, since codes vary: small ones are not as unlikely as if all were τ. What is
left of a row is known only once it has its atoms, so what is too weak goes again: `encode_omp`.

An atom that fires often needs less evidence. Where codes are normal around zero rather than near τ,
p² > 2 s² (c + log 1/f) is what makes an atom likelier than noise of variance s², and so

    t_m² = t² min(1, (c + log 1/f_m) / (c + mean of log 1/f))

never above the common one: an atom that is new has hardly fired yet, and would be held back by it.
Rows are held against t_m (1 + slope ‖r‖² / t).
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningThreshold", "Seen", "relative"]

SHARE = 0.42
"""Of the size of codes."""
SPREAD = 1.0
"""c."""
PACE = 0.01
"""By how much, relative to themselves, thresholds fall in a step that codes nothing, and by how
much the slope rises in a step at most."""
MEMORY = 100
"""Steps over which sizes and rates are averaged, with the weights that `icfl.updates.Online` gives
them."""


class Seen(NamedTuple):
    """What a step saw of its codes.

    Attributes
    ----------
    squares, sizes : float
        Σ z² and Σ |z|.
    n_rows : int
        Rows of the mini-batch.
    uses : ndarray of shape (M,), int64
        Rows on which each atom was active.
    """

    squares: float
    sizes: float
    n_rows: int
    uses: NDArray[np.int64]


class RunningThreshold:
    """The thresholds as they stand; every step gives new ones.

    Parameters
    ----------
    array : ndarray of shape (M,), float32
        Where they start; zeros for a share of the size of the first rows' first codes.
    n_features : int
        Width of the rows, d.
    slope : float, default=0
        Where the slope starts.

    Attributes
    ----------
    array : ndarray of shape (M,), float32
        The threshold of each atom where nothing is left of a row.
    common : float
        The one of atoms that fire seldom: t.
    slope : float
        By how much that one is higher per squared norm of what is left.
    """

    def __init__(self, array: NDArray[np.float32], n_features: int, slope: float = 0.0) -> None:
        self.array = array
        self.common = float(array.max())
        self.slope = slope
        self._n_features = n_features
        self._sums = np.zeros(4)
        self._uses = np.zeros(len(array))

    def begun(self, first: NDArray[np.float32]) -> RunningThreshold:
        """Return where to start, given what the first atom of each row would have as its code."""
        sizes = np.abs(first, dtype=np.float64)
        if self.common != 0.0 or not sizes.any():
            return self
        size = float(sizes @ sizes / sizes.sum())
        # As if all atoms fired equally often, and one on every row.
        slope = (SPREAD + float(np.log(len(self.array)))) / (self._n_features * size)
        return RunningThreshold(np.full_like(self.array, SHARE * size), self._n_features, slope)

    def after(self, seen: Seen) -> RunningThreshold:
        """Return the thresholds after a step that saw this; without any codes they fall."""
        there = copy(self)
        steps = min(self._sums[3] + 1.0, MEMORY)
        keep = 1.0 - 1.0 / steps
        sums = keep * self._sums[:3] + (seen.squares, seen.sizes, seen.n_rows)
        there._uses = keep * self._uses + seen.uses
        if seen.sizes == 0.0:
            sums[0] *= 1.0 - PACE
            there.common *= 1.0 - PACE
        there._sums = np.array([*sums, steps])
        if sums[1] > 0.0:
            size = float(sums[0] / sums[1])
            there.common = SHARE * size
            surprise = _surprise(there._uses, float(sums[2]))[there._uses >= 1.0]
            slope = float(surprise.mean()) / (self._n_features * size) if len(surprise) else 0.0
            there.slope = min(slope, (1.0 + PACE) * self.slope) if self.slope > 0.0 else slope
        if seen.sizes == 0.0:
            there.slope = (1.0 - PACE) * self.slope
        there.array = (there.common * relative(there._uses, float(sums[2]))).astype(np.float32)
        return there

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what the next ones depend on."""
        numbers = np.array([self.common, self.slope, *self._sums])
        return {"threshold_numbers": numbers, "threshold_uses": self._uses}

    def set_arrays(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Take back what `arrays` returned."""
        self.common, self.slope, *sums = map(float, arrays["threshold_numbers"])
        self._sums = np.array(sums)
        self._uses = np.array(arrays["threshold_uses"], dtype=np.float64)


def relative(uses: NDArray[np.float64], n_rows: float) -> NDArray[np.float64]:
    """Return the threshold of each atom as a multiple of the common one.

    Parameters
    ----------
    uses : ndarray of shape (M,), float64
        On how many rows each atom was active, older rows counting less.
    n_rows : float
        Of how many.

    Returns
    -------
    ndarray of shape (M,), float64
        At most 1.
    """
    surprise, fired = _surprise(uses, n_rows), uses >= 1.0
    if not fired.any():
        return np.ones(len(uses))
    return np.asarray(np.sqrt(np.minimum(surprise / surprise[fired].mean(), 1.0)))


def _surprise(uses: NDArray[np.float64], n_rows: float) -> NDArray[np.float64]:
    """Return c + log 1/f of each atom."""
    return SPREAD + np.log((n_rows + 1.0) / (uses + 1.0))
