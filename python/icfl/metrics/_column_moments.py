"""Count, mean and centred sum of squares per column, in one pass and mergeable.

Pairwise update of Chan, Golub and LeVeque (1979): blocks are centred on their own mean before
squaring, so an offset of 1e4 standard deviations costs no digits of the variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass
class ColumnMoments:
    """Running moments of the columns of a stream of rows.

    Attributes
    ----------
    n_samples : int
    mean : ndarray of shape (n_features,), float64
    centred_ss : ndarray of shape (n_features,), float64
        Sum over the rows of (x - mean)^2.
    """

    n_samples: int
    mean: npt.NDArray[np.float64]
    centred_ss: npt.NDArray[np.float64]

    @classmethod
    def of(cls, block: npt.NDArray[np.float64]) -> ColumnMoments:
        """Return the moments of one float64 block of rows."""
        # Subtracting the first row first makes a constant column centre to exactly zero.
        centred = block - block[0]
        shift = centred.mean(axis=0)
        centred -= shift
        return cls(len(block), block[0] + shift, np.einsum("ij,ij->j", centred, centred))

    def merge(self, other: ColumnMoments) -> None:
        """Add the rows that `other` has seen."""
        total = self.n_samples + other.n_samples
        delta = other.mean - self.mean
        self.mean = self.mean + delta * (other.n_samples / total)
        between = delta * delta * (self.n_samples * (other.n_samples / total))
        self.centred_ss = self.centred_ss + other.centred_ss + between
        self.n_samples = total
