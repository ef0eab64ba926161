"""Logistic regressions on a few columns of codes, most rows of which are zero in all of them.

Those rows are one point. A fit sees it once for each class, with the weight of all of them, and so
takes time for the other rows only; the optimum is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Chosen:
    """The columns of codes that any probe uses.

    Parameters
    ----------
    codes : csr_array or ndarray of shape (n, n_components), float64
    features : ndarray of intp, any shape
        All columns that will be asked for.
    """

    def __init__(self, codes: Any, features: npt.NDArray[np.intp]) -> None:
        self._places = np.unique(features)
        columns = codes[:, self._places]
        self._columns = columns.tocsc() if sparse.issparse(columns) else columns

    def probe(
        self,
        features: npt.NDArray[np.intp],
        positive: Bools,
        fold: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    ) -> Probe:
        """Return what probes on the first few of `features` need, for one label and fold."""
        columns = self._columns[:, np.searchsorted(self._places, features)]
        if sparse.issparse(columns):
            by_row = columns.tocsr()
            rows = np.flatnonzero(np.diff(by_row.indptr))
            values = by_row[rows].toarray()
        else:
            rows, values = np.arange(len(positive)), columns
        held_out = np.zeros(len(positive), dtype=bool)
        held_out[fold[1]] = True
        parts = []
        for part in (~held_out, held_out):
            here = part[rows]
            n_positive = int(np.count_nonzero(positive & part))
            totals = (int(np.count_nonzero(part)) - n_positive, n_positive)
            parts.append(_Rows(values[here], positive[rows[here]], totals))
        return Probe(*parts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows where a feature is active, and how many rows there are of each class in all."""

    values: Floats
    positive: Bools
    totals: tuple[int, int]

    def both(self) -> bool:
        return min(self.totals) > 0

    def points(self, size: int) -> tuple[Floats, Bools, Floats]:
        """Return distinct points of the first `size` features, their class, and how many rows.

        The last two points are zero: what is left of either class.
        """
        values = self.values[:, :size]
        active = values.any(axis=1)
        positive = self.positive[active]
        n_positive = int(np.count_nonzero(positive))
        rest = (self.totals[0] - (len(positive) - n_positive), self.totals[1] - n_positive)
        points = np.vstack([values[active], np.zeros((2, size))])
        counts = np.concatenate([np.ones(len(positive)), rest])
        return points, np.append(positive, [False, True]), counts


@dataclass(frozen=True, eq=False)
class Probe:
    """Training and held-out rows of one label and fold."""

    train: _Rows
    test: _Rows

    def scores(self, size: int, C: float, max_iter: int, tol: float) -> tuple[float, float]:
        """Return AUROC and balanced accuracy of the probe on the first `size` features."""
        if not self.test.both():
            return np.nan, np.nan
        if not self.train.both():
            return 0.5, 0.5
        points, positive, counts = self.train.points(size)
        mean = counts @ points / counts.sum()
        spread = np.sqrt(counts @ (points - mean) ** 2 / counts.sum())
        # Constant up to rounding: left as it is, as in scikit-learn's StandardScaler.
        spread[spread <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 1.0
        share = np.where(positive, self.train.totals[1], self.train.totals[0])
        weights = counts * counts.sum() / (2 * share)
        used = counts > 0
        model = LogisticRegression(C=C, solver="newton-cholesky", max_iter=max_iter, tol=tol)
        model.fit((points[used] - mean) / spread, positive[used], sample_weight=weights[used])
        return _held_out_scores(self.test, model.coef_[0] / spread, mean, model.intercept_[0])


def _held_out_scores(
    test: _Rows, coefficients: Floats, mean: Floats, intercept: float
) -> tuple[float, float]:
    points, positive, counts = test.points(len(coefficients))
    # Column by column: equal rows then have equal bits, which ties of the AUROC need and a matrix
    # product does not promise.
    decision = np.full(len(points), intercept)
    for coefficient, centre, column in zip(coefficients, mean, points.T, strict=True):
        decision += coefficient * (column - centre)
    found = [counts[(decision > 0) & positive].sum(), counts[(decision <= 0) & ~positive].sum()]
    return _auroc(decision, positive, counts), (
        found[0] / test.totals[1] + found[1] / test.totals[0]
    ) / 2


def _auroc(decision: Floats, positive: Bools, counts: Floats) -> float:
    """Return P(positive above negative) + P(equal) / 2 for points that stand for `counts` rows.

    Sums of integers: exact. scikit-learn's is a sum of trapezoids, and its checks take longer.
    """
    _, level = np.unique(decision, return_inverse=True)
    with_label = np.bincount(level, counts * positive)
    without = np.bincount(level, counts * ~positive)
    below = np.cumsum(without) - without
    pairs = with_label.sum() * without.sum()
    return float((with_label * (below + without / 2)).sum() / pairs)
