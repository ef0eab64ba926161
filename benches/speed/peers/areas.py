"""Areas under ROC curves by scikit-learn and by SciPy, of columns that are dense already."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

__all__ = ["by_ranks", "one_by_one"]


def one_by_one(columns: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (n_features, n_labels) by a call for each pair."""
    inside = [labels == label for label in range(int(labels.max()) + 1)]
    return np.array([[roc_auc_score(own, column) for own in inside] for column in columns.T])


def by_ranks(columns: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the same from sums of mid-ranks by label: each column is sorted once.

    Ranks are multiples of 1/2 and their sums exact.
    """
    m = np.bincount(labels)
    sums = np.array([np.bincount(labels, rankdata(column)) for column in columns.T])
    return np.asarray((sums - m * (m + 1) / 2) / (m * (len(labels) - m)))
