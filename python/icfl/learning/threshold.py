"""A threshold that sets itself: a share of the size that codes have.

An atom that a sample does not hold still has some inner product with the residual, from what other
atoms leave; where features are sparse this is small beside the codes of those that are there, and
the threshold belongs in between. Over all codes z of the last steps it is

    SHARE · Σ z² / Σ |z|

a mean in which large codes count most, so that small ones, noise among them, hardly lower it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RunningThreshold"]

SHARE = 0.44
"""Of the mean size, in which large codes count most. No share is best everywhere: this one is low
where other features interfere most and high where most features have a latent (docs/science.md,
precision against recall)."""
MEMORY = 100
"""Steps over which sizes are averaged, with the weights that `icfl.updates.Online` gives them."""


class RunningThreshold:
    """The threshold as it stands.

    Parameters
    ----------
    value : float
        Where it starts; 0 for a share of the norm of the first rows, the code of a row that is one
        atom.

    Attributes
    ----------
    array : ndarray of shape (), float32
        The threshold.
    """

    def __init__(self, value: float) -> None:
        self.array = np.array(value, dtype=np.float32)
        self._sums = np.zeros(3)

    @property
    def value(self) -> float:
        """The threshold as a number."""
        return float(self.array)

    def begun(self, norms: NDArray[np.floating]) -> RunningThreshold:
        """Return where to start, given the norms of the first rows without the bias."""
        if self.value != 0.0 or len(norms) == 0:
            return self
        return RunningThreshold(SHARE * float(norms.mean(dtype=np.float64)))

    def after(self, squares: float, sizes: float) -> RunningThreshold:
        """Return the threshold after a step, given Σ z² and Σ |z| of its codes."""
        there = RunningThreshold(self.value)
        steps = min(self._sums[2] + 1.0, MEMORY)
        keep = 1.0 - 1.0 / steps
        there._sums = np.array([*(keep * self._sums[:2] + (squares, sizes)), steps])
        if there._sums[1] > 0.0:
            there.array = np.array(SHARE * there._sums[0] / there._sums[1], dtype=np.float32)
        return there

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return what the next value depends on."""
        return {"threshold_sums": self._sums}

    def set_arrays(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Take back what `arrays` returned."""
        self._sums = np.array(arrays["threshold_sums"], dtype=np.float64)
