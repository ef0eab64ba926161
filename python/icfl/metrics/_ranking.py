"""Features ranked by how far apart their means are on the rows with and without a label."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl.metrics._inputs import row_blocks

Ranking = Literal["standardized", "difference"]
Floats = npt.NDArray[np.float64]

# Non-zeros added up at once: 8 MiB for each of the temporaries.
_BLOCK_NONZEROS = 1 << 20
_EPS = float(np.finfo(np.float64).eps)


def best_features(
    codes: Any,
    targets: npt.NDArray[np.intp],
    train: npt.NDArray[np.intp],
    n_labels: int,
    n_best: int,
    ranking: Ranking,
) -> npt.NDArray[np.intp]:
    """Return the `n_best` features of each label by the rows `train` alone, (n_labels, n_best).

    Parameters
    ----------
    codes : csr_array without repeated entries, or ndarray, of shape (n, n_components), float64
    targets : ndarray of shape (n,), intp
        Labels from 0 to n_labels - 1.
    train : ndarray of intp
        Rows that may be looked at.
    """
    labels = np.full(len(targets), -1, dtype=np.intp)
    labels[train] = targets[train]
    add_up = _sparse_sums if sparse.issparse(codes) else _dense_sums
    sums, squares = add_up(codes, labels, n_labels)
    counts = np.bincount(targets[train], minlength=n_labels)
    best = np.empty((n_labels, n_best), dtype=np.intp)
    for label in range(n_labels):
        apart = _distance(sums, squares, counts, label, ranking)
        best[label] = np.argsort(-apart, kind="stable")[:n_best]
    return best


def _sparse_sums(codes: Any, labels: npt.NDArray[np.intp], n_labels: int) -> tuple[Floats, Floats]:
    """Return sums and sums of squares by label, (n_labels, n_components) each."""
    n_rows, width = codes.shape
    sums, squares = np.zeros((2, n_labels * width))
    # As many non-zeros at once as there are sums, so that adding these does not take longer.
    size = max(_BLOCK_NONZEROS, n_labels * width)
    n_blocks = max(1, -(-len(codes.data) // size))
    ends = np.searchsorted(codes.indptr, np.arange(1, n_blocks + 1) * size, side="right") - 1
    start = 0
    for end in [*ends[:-1].tolist(), n_rows]:
        stored = slice(codes.indptr[start], codes.indptr[end])
        by_entry = np.repeat(labels[start:end], np.diff(codes.indptr[start : end + 1]))
        known = by_entry >= 0
        places = by_entry[known] * width + codes.indices[stored][known]
        values = codes.data[stored][known]
        sums += np.bincount(places, values, minlength=len(sums))
        squares += np.bincount(places, values**2, minlength=len(sums))
        start = end
    return sums.reshape(n_labels, width), squares.reshape(n_labels, width)


def _dense_sums(rows: Floats, labels: npt.NDArray[np.intp], n_labels: int) -> tuple[Floats, Floats]:
    """Return the same for dense rows, less the mean of those that count.

    Neither ranking depends on where 0 is, and offsets would take digits from the variances.
    """
    sums, squares = np.zeros((2, n_labels, rows.shape[1]))
    known = labels >= 0
    mean = sum(rows[b][known[b]].sum(axis=0) for b in row_blocks(rows.shape)) / known.sum()
    for b in row_blocks(rows.shape):
        centred = rows[b][known[b]] - mean
        member = (np.arange(n_labels)[:, None] == labels[b][known[b]]).astype(np.float64)
        sums += member @ centred
        squares += member @ centred**2
    return sums, squares


def _distance(
    sums: Floats, squares: Floats, counts: npt.NDArray[np.int64], label: int, ranking: Ranking
) -> Floats:
    """Return the score of every feature for one label; 0 where nothing tells the classes apart."""
    n_one, n_all = counts[label], counts.sum()
    n_rest = n_all - n_one
    if n_one == 0 or n_rest == 0:
        return np.zeros(sums.shape[1])
    one, rest = sums[label] / n_one, (sums.sum(axis=0) - sums[label]) / n_rest
    square, square_rest = squares[label], np.maximum(squares.sum(axis=0) - squares[label], 0.0)
    # What rounding of sums of n terms can amount to (but for a probability of 1e-3) is nothing:
    # else a constant feature would have a distance of rounding over rounding.
    tiny = 4 * np.sqrt(n_all) * _EPS
    apart = np.abs(one - rest)
    apart[apart <= tiny * (np.sqrt(square / n_one) + np.sqrt(square_rest / n_rest))] = 0.0
    if ranking == "difference":
        return np.asarray(apart)
    within = square + square_rest - n_one * one**2 - n_rest * rest**2
    within[within <= tiny * (square + square_rest)] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = apart / np.sqrt(within / n_all)
    return np.where(apart > 0, scaled, 0.0)
