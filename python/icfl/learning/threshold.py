"""Thresholds that set themselves, where noise begins: one for each atom.

An atom that a sample does not hold still has some inner product with the residual, from what other
atoms leave. Where features are sparse this is small beside the codes of those that are there, so
a common threshold is a share of their size: over all codes z of the last steps

    t = share · Σ z² / Σ |z|

a mean in which large codes count most, so that small ones, noise among them, hardly lower it.

Which share, noise itself tells. It has no sign, and codes that are positive have. So of the inner
products p of atoms with what codes leave, those with 0.9 t < -p <= t are as many as there is noise
among those with 0.9 t < p <= t. The share is led to where that is half of these.

An atom that fires often needs less evidence than one that hardly ever does. To take an atom of unit
norm lowers the squared error by p². With noise of variance s², and an atom that is there on a
share f of the samples with normal codes of size τ, it is the likelier explanation where about
p² > 2 s² (log 1 / f + c) with c = log τ / s. So each atom has a threshold of its own,

    t_m² = t² min(1, (c + log 1 / f_m) / (c + mean of log 1 / f))

with the rates f of the last steps, and the mean over atoms that fired at all in these. It is never
above the common one: an atom that is new has hardly fired yet, and would be held back by it.
"""

from __future__ import annotations

import math
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningThreshold", "Seen", "least_near", "rows_apart"]

FIRST_SHARE = 0.44
"""Before anything is known of the noise."""
SHARES = (0.4, 0.52)
"""Lowest and highest. Early in a fit no atom is a feature yet, nearly all that is just below the
threshold is noise, and the share would rise until hardly anything is coded."""
NOISE = 0.5
"""Of the inner products just below the threshold, the share of noise that it is led to: taking an
atom raises F1 where it is right more often than half of the F1 that is reached (Lipton, Elkan and
Naryanaswamy, 2014)."""
WIDTH = 0.1
"""Of the threshold, how wide "just below" is."""
GAIN = 0.01
"""By how much, relative to itself, the share moves in a step at most."""
SPREAD = 2.0
"""c, for codes seven times as large as noise."""
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
        Σ z² and Σ |z| of its codes.
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

    Attributes
    ----------
    array : ndarray of shape (M,), float32
        The threshold of each atom.
    common : float
        The one of atoms that fire seldom: t.
    """

    def __init__(self, array: NDArray[np.float32]) -> None:
        self.array = array
        self.common = float(array.max())
        self._share = FIRST_SHARE
        self._sums = np.zeros(4)
        self._uses = np.zeros(len(array))

    def begun(self, first: NDArray[np.float32]) -> RunningThreshold:
        """Return where to start, given what the first atom of each row would have as its code."""
        sizes = np.abs(first, dtype=np.float64)
        if self.common != 0.0 or not sizes.any():
            return self
        common = FIRST_SHARE * float(sizes @ sizes / sizes.sum())
        return RunningThreshold(np.full_like(self.array, common))

    def after(self, seen: Seen) -> RunningThreshold:
        """Return the thresholds after a step that saw this; without any codes they fall."""
        there = copy(self)
        steps = min(self._sums[3] + 1.0, MEMORY)
        keep = 1.0 - 1.0 / steps
        sums = keep * self._sums[:3] + (seen.squares, seen.sizes, seen.n_rows)
        if seen.sizes == 0.0:
            sums[0] *= 1.0 - GAIN
            there.common *= 1.0 - GAIN
        there._sums = np.array([*sums, steps])
        there._uses = keep * self._uses + seen.uses
        if seen.below + seen.mirrored > 0:
            noise, wanted = seen.mirrored, NOISE * seen.below
            moved = self._share * math.exp(GAIN * (noise - wanted) / (noise + wanted))
            there._share = min(max(moved, SHARES[0]), SHARES[1])
        if sums[1] > 0.0:
            there.common = there._share * float(sums[0] / sums[1])
        there.array = (there.common * relative(there._uses, float(sums[2]))).astype(np.float32)
        return there

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what the next ones depend on."""
        numbers = np.array([self.common, self._share, *self._sums])
        return {"threshold_numbers": numbers, "threshold_uses": self._uses}

    def set_arrays(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Take back what `arrays` returned."""
        self.common, self._share, *sums = map(float, arrays["threshold_numbers"])
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
    surprise = SPREAD + np.log((n_rows + 1.0) / (uses + 1.0))
    fired = uses >= 1.0
    if not fired.any():
        return np.ones(len(uses))
    return np.asarray(np.sqrt(np.minimum(surprise / surprise[fired].mean(), 1.0)))
