"""Counts by label and group, and what they are in resamples of groups or of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl.metrics._inputs import _SPAN_VALUES
from icfl.metrics.selectivity import Kind

Values = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counted:
    """Samples by label and group, and on how many of them each feature is active.

    Groups have few of the labels: only pairs that occur are here, sorted by label, then group.

    Attributes
    ----------
    names : ndarray of shape (n_labels,)
        The labels.
    n_groups : int
    label, group : ndarray of shape (n_pairs,), intp
        Which label and group each pair is of.
    samples : ndarray of shape (n_pairs,), int64
    active : csr_array of shape (n_pairs, n_components), int64
    """

    names: npt.NDArray[Any]
    n_groups: int
    label: npt.NDArray[np.intp]
    group: npt.NDArray[np.intp]
    samples: Counts
    active: Any

    @property
    def totals(self) -> Counts:
        """Samples of each label, (n_labels,)."""
        return np.asarray(self._membership @ self.samples)

    @cached_property
    def by_label(self) -> Counts:
        """Active samples of each label, (n_labels, n_components)."""
        return np.asarray((self._membership @ self.active).toarray())

    @property
    def _membership(self) -> Any:
        n_pairs = len(self.label)
        ones, bounds = np.ones(n_pairs, dtype=np.int64), np.arange(len(self.names) + 1)
        starts = np.searchsorted(self.label, bounds)
        return sparse.csr_array(
            (ones, np.arange(n_pairs), starts), shape=(len(self.names), n_pairs)
        )


def column_blocks(width: int, values_per_column: int) -> Iterator[slice]:
    """Yield blocks of columns, such that 2**24 values are enough for each."""
    step = max(1, _SPAN_VALUES // max(1, values_per_column))
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))


class Resamples(ABC):
    """Numbers of samples of each label, (n_labels, n_resamples), and of the active ones."""

    totals: npt.NDArray[np.int64]

    def valid(self) -> npt.NDArray[np.bool_]:
        """Which resamples have each label and another one, (n_labels, n_resamples)."""
        others = self.totals.sum(axis=0) - self.totals
        return np.asarray((self.totals > 0) & (others > 0))

    @abstractmethod
    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield blocks of features with counts (n_labels, n_resamples, n_features)."""


class RowResamples(Resamples):
    """Resamples of rows, drawn as counts."""

    def __init__(self, counted: Counted, n_resamples: int, rng: np.random.Generator) -> None:
        self._counted, self._rng = counted, rng
        n = int(counted.totals.sum())
        shares = counted.totals / n
        self.totals = rng.multinomial(n, shares, size=n_resamples).T.astype(np.int64)

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        shares = self._counted.by_label / self._counted.totals[:, None]
        for columns in column_blocks(shares.shape[1], self.totals.size):
            yield columns, self._rng.binomial(self.totals[:, :, None], shares[:, None, columns])


class GroupResamples(Resamples):
    """Resamples of whole groups."""

    def __init__(self, counted: Counted, n_resamples: int, rng: np.random.Generator) -> None:
        self._counted = counted
        # How often each group is drawn. float64, for products by BLAS: exact below 2**53.
        shares = np.full(counted.n_groups, 1.0 / counted.n_groups)
        times = rng.multinomial(counted.n_groups, shares, size=n_resamples)
        self.times: Values = times.astype(np.float64)
        self.totals = self._weighted(counted.samples[:, None])[:, :, 0].astype(np.int64)

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        active = self._counted.active.tocsc()
        n_pairs, width = active.shape
        for columns in column_blocks(width, max(self.totals.size, n_pairs)):
            yield columns, self._weighted(active[:, columns].toarray())

    def _weighted(self, counts: Counts) -> Values:
        """Sum counts (n_pairs, m) over the drawn groups: (n_labels, n_resamples, m)."""
        label, group = self._counted.label, self._counted.group
        n_labels = len(self._counted.names)
        starts = np.searchsorted(label, np.arange(n_labels + 1))
        out = np.empty((n_labels, len(self.times), counts.shape[1]))
        for number, (first, last) in enumerate(pairwise(starts.tolist())):
            pairs = slice(first, last)
            np.matmul(self.times[:, group[pairs]], counts[pairs], out=out[number])
        return out


def scores(active: npt.NDArray[Any], totals: Counts, kind: Kind) -> Values:
    """Selectivity (n_labels, n_resamples, m); of no meaning where a label has no sample."""
    sizes = totals[:, :, None]
    share = active / np.maximum(sizes, 1)
    if kind == "average":
        others = np.maximum(sizes.sum(axis=0) - sizes, 1)
        return np.asarray(share - (active.sum(axis=0) - active) / others)
    share[totals == 0] = -np.inf
    order = np.sort(share, axis=0) if len(share) > 1 else share
    first, second = order[-1], order[-2]
    with np.errstate(invalid="ignore"):  # inf - inf where a label has no sample
        return np.asarray(share - np.where(share < first, first, second))
