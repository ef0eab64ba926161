"""How well reconstructions match inputs: explained variance and cosine similarity.

    explained variance = 1 - sum_i |x_i - xhat_i|^2 / sum_i |x_i - xbar|^2
    cosine similarity  = mean_i <x_i, xhat_i> / (|x_i| |xhat_i|)

xbar is the mean of the very samples that are measured, so that predicting the mean scores 0. (About
zero instead of the mean, data with an offset score close to 1 whatever the reconstruction.)
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from icfl._validation import check_matrix
from icfl.exceptions import InputError
from icfl.metrics._column_moments import ColumnMoments
from icfl.metrics._inputs import float64_rows, row_blocks

_Vector: TypeAlias = npt.NDArray[np.float64]


class ReconstructionStats:
    """Explained variance and cosine similarity of a stream, in one pass.

    Batches may have any size; accumulators filled on different machines are merged. Memory is a few
    rows, whatever the length of the stream.

    Attributes
    ----------
    n_samples : int
        Rows seen so far.
    explained_variance : float
    cosine_similarity : float

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import ReconstructionStats
    >>> X = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])
    >>> stats = ReconstructionStats().update(X[:2], X[:2])
    >>> stats.merge(ReconstructionStats().update(X[2:], X[2:] + [[0.0, 1.0]]))
    ReconstructionStats(n_samples=3, explained_variance=0.9286, cosine_similarity=0.9980)
    """

    def __init__(self) -> None:
        self._moments: ColumnMoments | None = None
        self._residual_ss = 0.0
        self._cosine_sum = 0.0
        # If every prediction so far was the same row: that row, and the sum of the residuals.
        self._constant: tuple[_Vector, _Vector] | None = None

    def update(self, X: npt.ArrayLike, Xhat: npt.ArrayLike) -> ReconstructionStats:
        """Add rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, as the dictionary sees them.
        Xhat : array-like of shape (n_samples, n_features)
            Their reconstructions.

        Returns
        -------
        self : ReconstructionStats

        Raises
        ------
        InputError
            If shapes differ, an array is empty, or a value is not finite. Nothing is added then.
        """
        X, Xhat = check_matrix(X, "X", minimum_rows=1), check_matrix(Xhat, "Xhat", minimum_rows=1)
        if X.shape != Xhat.shape:
            raise InputError(f"Xhat must have the shape of X, {X.shape}, got {Xhat.shape}")
        added = ReconstructionStats()
        for rows in row_blocks(X.shape):
            added._merge(_of_block(float64_rows(X, rows, "X"), float64_rows(Xhat, rows, "Xhat")))
        return self.merge(added)

    def merge(self, other: ReconstructionStats) -> ReconstructionStats:
        """Add everything `other` has seen; `other` is left as it is.

        Raises
        ------
        InputError
            If the two have seen different widths.
        """
        mine, theirs = self._moments, other._moments
        if mine is not None and theirs is not None and mine.mean.shape != theirs.mean.shape:
            widths = f"{mine.mean.size} and {theirs.mean.size}"
            raise InputError(f"other must have the same n_features to be merged, got {widths}")
        self._merge(other)
        return self

    def _merge(self, other: ReconstructionStats) -> None:
        if other._moments is None:
            return
        if self._moments is None:
            self.__dict__.update(deepcopy(other.__dict__))
            return
        self._moments.merge(other._moments)
        self._residual_ss += other._residual_ss
        self._cosine_sum += other._cosine_sum
        self._merge_constant(other)

    def _merge_constant(self, other: ReconstructionStats) -> None:
        mine, theirs, self._constant = self._constant, other._constant, None
        if mine is not None and theirs is not None and np.array_equal(mine[0], theirs[0]):
            self._constant = mine[0], mine[1] + theirs[1]

    @property
    def n_samples(self) -> int:
        """Rows seen so far."""
        return 0 if self._moments is None else self._moments.n_samples

    @property
    def explained_variance(self) -> float:
        """1 - residual / total sum of squares about the mean; NaN if the inputs do not vary."""
        moments = self._seen()
        total = float(moments.centred_ss.sum())
        if total == 0.0:
            return float("nan")
        return 1.0 - self._residual_ratio(moments.n_samples, total)

    def _residual_ratio(self, n_samples: int, total: float) -> float:
        if self._constant is None:
            return self._residual_ss / total
        # Every prediction was the same row c. Then the residual is total + n |xbar - c|^2, and this
        # form is exactly 1 for c = xbar, where the quotient of two sums would be 1 to rounding.
        offset = self._constant[1] / n_samples
        return 1.0 + n_samples * float(offset @ offset) / total

    @property
    def cosine_similarity(self) -> float:
        """Mean over the rows of the cosine between input and reconstruction."""
        return self._cosine_sum / self._seen().n_samples

    def _seen(self) -> ColumnMoments:
        if self._moments is None:
            raise InputError("ReconstructionStats has seen no samples; call update first")
        return self._moments

    def __repr__(self) -> str:
        if self._moments is None:
            return "ReconstructionStats(n_samples=0)"
        return (
            f"ReconstructionStats(n_samples={self.n_samples}, "
            f"explained_variance={self.explained_variance:.4f}, "
            f"cosine_similarity={self.cosine_similarity:.4f})"
        )


def _of_block(X: npt.NDArray[np.float64], Xhat: npt.NDArray[np.float64]) -> ReconstructionStats:
    stats = ReconstructionStats()
    residual = X - Xhat
    stats._moments = ColumnMoments.of(X)
    stats._residual_ss = float(np.einsum("ij,ij->", residual, residual))
    stats._cosine_sum = float(_row_cosines(X, Xhat).sum())
    if (Xhat == Xhat[0]).all():
        stats._constant = Xhat[0].copy(), residual.sum(axis=0)
    return stats


def _row_cosines(
    X: npt.NDArray[np.float64], Xhat: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    norm_x = np.sqrt(np.einsum("ij,ij->i", X, X))
    norm_xhat = np.sqrt(np.einsum("ij,ij->i", Xhat, Xhat))
    # Both zero: a perfect reconstruction, 1. One zero: no direction in common, 0.
    cosines: npt.NDArray[np.float64] = ((norm_x == 0) & (norm_xhat == 0)).astype(np.float64)
    scale = norm_x * norm_xhat
    np.divide(np.einsum("ij,ij->i", X, Xhat), scale, out=cosines, where=scale > 0)
    return np.clip(cosines, -1.0, 1.0)


def explained_variance(X: npt.ArrayLike, Xhat: npt.ArrayLike) -> float:
    """Share of the variance of X that Xhat explains: 1 - sum |x - xhat|^2 / sum |x - xbar|^2.

    Mean-centred: predicting the mean of X gives exactly 0, a perfect reconstruction exactly 1,
    worse than the mean is negative. All features count together, by their variance. Sums are
    float64.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Inputs, as the dictionary sees them (after whitening and scaling, if any).
    Xhat : array-like of shape (n_samples, n_features)
        Their reconstructions, on the same scale.

    Returns
    -------
    float
        NaN if all rows of X are equal, because the quotient is not defined then.

    Raises
    ------
    InputError, InputTypeError
        If shapes differ, an array is empty or not 2-D, or a value is not a finite real number.

    See Also
    --------
    ReconstructionStats : the same for streams, mergeable.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import explained_variance
    >>> X = np.array([[10.0, 1.0], [12.0, 1.0], [14.0, 4.0]])
    >>> explained_variance(X, np.broadcast_to(X.mean(axis=0), X.shape))
    0.0
    >>> round(explained_variance(X, X + [[0.0, 1.0]]), 3)
    0.786
    """
    return ReconstructionStats().update(X, Xhat).explained_variance


def cosine_similarity(X: npt.ArrayLike, Xhat: npt.ArrayLike) -> float:
    """Mean over the rows of the cosine between input and reconstruction.

    A row of zeros has no direction: it counts as 0 if only one of the pair is zero, and as 1 (a
    perfect reconstruction) if both are. Sums are float64.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Inputs.
    Xhat : array-like of shape (n_samples, n_features)
        Their reconstructions.

    Returns
    -------
    float
        Between -1 and 1.

    Raises
    ------
    InputError, InputTypeError
        If shapes differ, an array is empty or not 2-D, or a value is not a finite real number.

    Examples
    --------
    >>> from icfl.metrics import cosine_similarity
    >>> cosine_similarity([[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [1.0, 0.0]])
    0.5
    """
    return ReconstructionStats().update(X, Xhat).cosine_similarity
