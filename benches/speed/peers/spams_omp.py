"""SPAMS: sparse coding in C++ on all cores, columns as samples.

Its "omp" is order-recursive matching pursuit: the atom that leaves the smallest residual after the
refit, not the one with the largest inner product. Supports differ from those of OMP; what is left
unexplained can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import spams
from numpy.typing import NDArray
from scipy.sparse import csr_array

__all__ = ["Omp", "refuse"]


class Omp:
    """`spams.omp` with a given number of non-zeros; it forms the Gram matrix in every call."""

    def __init__(self, X: NDArray[np.float32], D: NDArray[np.float32], n_nonzero: int) -> None:
        self.X, self.D = np.asfortranarray(X.T), np.asfortranarray(D.T)
        self.n_nonzero = n_nonzero

    def __call__(self) -> csr_array:
        Z = spams.omp(self.X, self.D, L=self.n_nonzero, eps=0.0, lambda1=0.0, numThreads=-1)
        return csr_array(Z.T)


def refuse(Z: Any) -> str | None:
    """Say so if it has returned nothing, which it sometimes does without an error."""
    empty = int((np.diff(Z.indptr) == 0).sum())
    return f"{empty} of {Z.shape[0]} codes are empty" if empty else None
