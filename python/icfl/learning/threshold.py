"""A threshold that sets itself, where noise begins.

An atom that a sample does not hold still has some inner product with the residual, from what other
atoms leave. Where features are sparse this is small beside the codes of those that are there, so
the threshold is a share of their size: over all codes z of the last steps

    share · Σ z² / Σ |z|

a mean in which large codes count most, so that small ones, noise among them, hardly lower it.

Which share, noise itself tells. It has no sign, and codes that are positive have. So of the inner
products p of atoms with what codes leave, those with 0.9 t < -p <= t are as many as there is noise
among those with 0.9 t < p <= t. The share is led to where that is a third of these.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningThreshold", "Seen", "least_near", "rows_apart"]

FIRST_SHARE = 0.44
"""Before anything is known of the noise."""
SHARES = (0.4, 0.52)
"""Lowest and highest. Early in a fit no atom is a feature yet, nearly all that is just below the
threshold is noise, and the share would rise until hardly anything is coded."""
NOISE = 1.0 / 3.0
"""Of the inner products just below the threshold, the share of noise that it is led to. Taking an
atom raises F1 where it is right more often than half of the F1 that is reached (Lipton, Elkan and
Naryanaswamy, 2014); and a mean over features is one of rare ones, for which noise is a larger part
than it is of all together."""
WIDTH = 0.1
"""Of the threshold, how wide "just below" is."""
GAIN = 0.01
"""By how much, relative to itself, the share moves in a step at most."""
PROBED = 256
"""Rows of a mini-batch whose inner products are looked at, at most."""
MEMORY = 100
"""Steps over which sizes are averaged, with the weights that `icfl.updates.Online` gives them."""


class Seen(NamedTuple):
    """What a step saw of its codes and of what they leave.

    Attributes
    ----------
    squares, sizes : float
        Σ z² and Σ |z| of its codes.
    below, mirrored : int
        Inner products of atoms and residuals just below the threshold, and how many are when their
        signs are turned. Both 0 where codes may be negative: the second are then no noise.
    """

    squares: float
    sizes: float
    below: int = 0
    mirrored: int = 0


def least_near(threshold: float) -> float:
    """Return the lower end of what is just below a threshold."""
    return (1.0 - WIDTH) * threshold


def rows_apart(n_rows: int) -> int:
    """Return the distance of the rows of a mini-batch whose inner products are looked at."""
    return -(-n_rows // PROBED)


class RunningThreshold:
    """The threshold as it stands.

    Parameters
    ----------
    value : float
        Where it starts; 0 for a share of the size of the first rows' first codes.

    Attributes
    ----------
    array : ndarray of shape (), float32
        The threshold.
    """

    def __init__(self, value: float) -> None:
        self.array = np.array(value, dtype=np.float32)
        self._sums = np.zeros(3)
        self._share = FIRST_SHARE

    @property
    def value(self) -> float:
        """The threshold as a number."""
        return float(self.array)

    def begun(self, first: NDArray[np.float32]) -> RunningThreshold:
        """Return where to start, given what the first atom of each row would have as its code."""
        sizes = np.abs(first, dtype=np.float64)
        if self.value != 0.0 or not sizes.any():
            return self
        return RunningThreshold(FIRST_SHARE * float(sizes @ sizes / sizes.sum()))

    def after(self, seen: Seen) -> RunningThreshold:
        """Return the threshold after a step that saw this; without any codes it falls."""
        there = RunningThreshold(self.value)
        steps = min(self._sums[2] + 1.0, MEMORY)
        keep = 1.0 - 1.0 / steps
        there._sums = np.array([*(keep * self._sums[:2] + (seen.squares, seen.sizes)), steps])
        there._share = self._share
        if seen.sizes == 0.0:
            there._sums[0] *= 1.0 - GAIN
            there.array = np.array((1.0 - GAIN) * self.value, dtype=np.float32)
        if seen.below + seen.mirrored > 0:
            noise, wanted = seen.mirrored, NOISE * seen.below
            moved = self._share * math.exp(GAIN * (noise - wanted) / (noise + wanted))
            there._share = min(max(moved, SHARES[0]), SHARES[1])
        if there._sums[1] > 0.0:
            size = there._sums[0] / there._sums[1]
            there.array = np.array(there._share * size, dtype=np.float32)
        return there

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what the next value depends on."""
        return {"threshold_sums": self._sums, "threshold_share": np.array(self._share)}

    def set_arrays(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Take back what `arrays` returned."""
        self._sums = np.array(arrays["threshold_sums"], dtype=np.float64)
        self._share = float(arrays["threshold_share"])
