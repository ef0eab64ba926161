"""Selectivity by plain NumPy and SciPy products."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["dense_counts", "dense_selectivity", "sparse_selectivity"]

BLOCK = 8192
COUNTED = 2048  # the fastest of 256 to 8,192 here


def dense_selectivity(Z: sparse.csr_array, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count with dense products, `BLOCK` rows at a time: whole they would be (n, M) floats."""
    n_labels = int(labels.max()) + 1
    active = np.zeros((n_labels, Z.shape[1]), dtype=np.float32)
    for start in range(0, Z.shape[0], BLOCK):
        rows = slice(start, start + BLOCK)
        one_hot = labels[rows] == np.arange(n_labels)[:, None]
        active += one_hot.astype(np.float32) @ (Z[rows].toarray() != 0).astype(np.float32)
    return _average(active.astype(np.float64), labels)


def dense_counts(Z: sparse.csr_array, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count non-zeros of the rows of each label, sorted beforehand: no multiplications.

    Sorting one row index per sample costs nothing beside making the rows dense.
    """
    order = np.argsort(labels, kind="stable")
    active = np.zeros((int(labels.max()) + 1, Z.shape[1]))
    for rows in np.split(order, range(COUNTED, len(order), COUNTED)):
        dense, own = Z[rows].toarray() != 0, labels[rows]
        starts = np.flatnonzero(np.diff(own, prepend=-1))
        for start, end in pairwise([*starts, len(own)]):
            active[own[start]] += np.count_nonzero(dense[start:end], axis=0)
    return _average(active, labels)


def sparse_selectivity(Z: sparse.csr_array, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count with one product of sparse matrices."""
    n = len(labels)
    one_hot = sparse.csr_array((np.ones(n), (labels, np.arange(n))))
    return _average((one_hot @ (Z != 0).astype(np.float64)).toarray(), labels)


def _average(active: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    totals = np.bincount(labels).astype(np.float64)[:, None]
    elsewhere = (active.sum(axis=0) - active) / (len(labels) - totals)
    return np.asarray((active / totals - elsewhere).T)
