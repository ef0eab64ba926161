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
codes count most, so that small ones, mistakes among them, hardly lower it. What is left of a row is
known only once it has its atoms, so what is too weak goes again: `encode_omp`.

The share would be a half if all codes were τ and what has no atom were normal. Neither is so, and
noise itself tells what it should be: noise has no sign, and codes that are positive have. So of the
inner products p of atoms with what codes leave, those with 0.9 t < -p <= t, t being what is asked
in that row, are as many as there is noise among those with 0.9 t < p <= t. The share is led to
where that is two fifths of these.

An atom that fires often needs less evidence. Where codes are normal around zero rather than near τ,
p² > 2 s² (c + log 1/f) is what makes an atom likelier than noise of variance s², and so

    t_m² = t² min(1, (c + log 1/f_m) / (c + mean of log 1/f))

never above the common one: an atom that is new has hardly fired yet, and would be held back by it.
Rows are held against t_m (1 + slope ‖r‖² / t).
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningThreshold", "Seen", "least_near", "relative", "rows_apart", "slope_of"]

FIRST_SHARE = 0.42
"""Before anything is known of the noise."""
SHARES = (0.32, 0.5)
"""Lowest and highest. Early in a fit no atom is a feature yet, nearly all that is just below the
threshold is noise, and the share would rise until hardly anything is coded. With 0.38 as the
lowest, F1 of ``benches.science choices --data planted --passes 4`` ("threshold: auto") is 0.986
instead of 0.993 (2 seeds)."""
NOISE = 0.4
"""Of the inner products just below the threshold, the share of noise that it is led to. To take an
atom raises F1 where it is right more often than half of the F1 that is reached (Lipton, Elkan and
Naryanaswamy, 2014), which says a half. A little less finds more: F1 of
``benches.science planted --scale 0.1 --passes 2`` is 0.938 ± 0.004 with a half and 0.943 ± 0.001
with this (3 seeds)."""
WIDTH = 0.1
"""Of the threshold, how wide "just below" is."""
PACE = 0.01
"""By how much, relative to themselves, share and slope move in a step at most, and thresholds fall
in one that codes nothing."""
SPREAD = 1.0
"""c: what is small among codes is not as unlikely as if all were τ."""
PROBED = 256
"""Rows of a mini-batch whose inner products are looked at, at most."""
MEMORY = 100
"""Steps over which sizes and rates are averaged, with the weights that `icfl.updates.Online` gives
them."""


class Seen(NamedTuple):
    """What a step saw of its codes and of what they leave.

    Attributes
    ----------
    squares, sizes : float
        Σ z² and Σ |z|.
    n_rows : int
        Rows of the mini-batch.
    uses : ndarray of shape (M,), int64
        Rows on which each atom was active.
    below, mirrored : int
        Inner products of atoms and residuals just below their thresholds, and how many are when
        their signs are turned. Both 0 where codes may be negative: the second are then no noise.
    """

    squares: float
    sizes: float
    n_rows: int
    uses: NDArray[np.int64]
    below: int = 0
    mirrored: int = 0


def least_near(threshold: float) -> float:
    """Return the lower end of what is just below a threshold."""
    return (1.0 - WIDTH) * threshold


def rows_apart(n_rows: int) -> int:
    """Return the distance of the rows of a mini-batch whose inner products are looked at."""
    return -(-n_rows // PROBED)


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
        self._share = FIRST_SHARE
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
        return RunningThreshold(
            np.full_like(self.array, FIRST_SHARE * size), self._n_features, slope
        )

    def after(self, seen: Seen) -> RunningThreshold:
        """Return the thresholds after a step that saw this; without any codes they fall."""
        there = copy(self)
        steps = min(self._sums[3] + 1.0, MEMORY)
        keep = 1.0 - 1.0 / steps
        sums = keep * self._sums[:3] + (seen.squares, seen.sizes, seen.n_rows)
        there._uses = keep * self._uses + seen.uses
        silent = seen.sizes == 0.0
        if silent:
            sums[0] *= 1.0 - PACE
            there.common *= 1.0 - PACE
            there.slope *= 1.0 - PACE
        there._sums = np.array([*sums, steps])
        if seen.below + seen.mirrored > 0:
            noise, wanted = seen.mirrored, NOISE * seen.below
            moved = self._share * math.exp(PACE * (noise - wanted) / (noise + wanted))
            there._share = min(max(moved, SHARES[0]), SHARES[1])
        if sums[1] > 0.0:
            size = float(sums[0] / sums[1])
            there.common = there._share * size
            slope = slope_of(there._uses, float(sums[2]), size, self._n_features)
            if not silent:
                there.slope = min(slope, (1.0 + PACE) * self.slope) if self.slope > 0.0 else slope
        there.array = (there.common * relative(there._uses, float(sums[2]))).astype(np.float32)
        return there

    def multiples(self, left: Any) -> Any:
        """Return by what thresholds are multiplied where rows have squared norms `left` left."""
        return 1.0 + (self.slope / self.common if self.common > 0.0 else 0.0) * left

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what the next ones depend on."""
        numbers = np.array([self.common, self.slope, self._share, *self._sums])
        return {"threshold_numbers": numbers, "threshold_uses": self._uses}

    def set_arrays(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Take back what `arrays` returned."""
        self.common, self.slope, self._share, *sums = map(float, arrays["threshold_numbers"])
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


def slope_of(uses: NDArray[np.float64], n_rows: float, size: float, n_features: int) -> float:
    """Return by how much the common threshold rises per squared norm of what is left of a row.

    Parameters
    ----------
    uses : ndarray of shape (M,), float64
        On how many rows each atom was active.
    n_rows : float
        Of how many.
    size : float
        Of codes, τ.
    n_features : int
        Width of the rows, d.

    Returns
    -------
    float
    """
    surprise = _surprise(uses, n_rows)[uses >= 1.0]
    return float(surprise.mean()) / (n_features * size) if len(surprise) else 0.0


def _surprise(uses: NDArray[np.float64], n_rows: float) -> NDArray[np.float64]:
    """Return c + log 1/f of each atom."""
    return SPREAD + np.log((n_rows + 1.0) / (uses + 1.0))
