"""Bootstrap intervals of selectivity, from counts alone.

With groups (plates, donors) the groups are resampled: each drawn group brings all its samples, so
that an interval speaks of new groups. Without, rows are. As selectivity depends on counts by label
only,

- a resample of groups is a weighted sum of the counts of each group;
- a resample of rows draws n_i* of each label from a multinomial, and of these, for each feature,
  the active ones from a binomial: the same distribution as drawing rows, without drawing any.

Intervals are percentile intervals, one feature and label at a time.

Reference: Davison & Hinkley (1997), "Bootstrap methods and their application", sections 3.8
(hierarchical data) and 5.3.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icfl._frames import data_frame
from icfl._validation import check_choice, check_count, check_number, seeded_generator
from icfl.exceptions import InputError
from icfl.metrics._design import Design, make_design
from icfl.metrics._inputs import count_active
from icfl.metrics.selectivity import Kind, _average, _maximum

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SelectivityIntervals:
    """Selectivity with an interval for every feature and label.

    Attributes
    ----------
    values, low, high : ndarray of shape (n_components, n_labels), float64
        Selectivity on all samples, and the ends of its interval. The ends are NaN for a label that
        no resample has together with another one.
    labels : ndarray of shape (n_labels,)
    kind : {"average", "maximum"}
    confidence : float
    resampled : {"groups", "rows"}
    n_valid : ndarray of shape (n_labels,), int64
        Resamples that contain the label and others; the interval is that of these.
    """

    values: _Values
    low: _Values
    high: _Values
    labels: npt.NDArray[Any]
    kind: Kind
    confidence: float
    resampled: str
    n_valid: npt.NDArray[np.int64]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per feature and label."""
        n_components, n_labels = self.values.shape
        return data_frame(
            {
                "feature": np.repeat(np.arange(n_components), n_labels),
                "label": np.tile(self.labels, n_components),
                "selectivity": self.values.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
            }
        )

    def __repr__(self) -> str:
        n_components, n_labels = self.values.shape
        return (
            f"SelectivityIntervals(confidence={self.confidence}, resampled={self.resampled!r}, "
            f"n_components={n_components}, n_labels={n_labels})"
        )


def selectivity_intervals(
    Z: Any,
    labels: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    kind: Kind = "average",
    confidence: float = 0.95,
    n_resamples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
) -> SelectivityIntervals:
    """Bootstrap intervals of the selectivity of every feature for every label.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes. Sparse codes are never made dense. Pass some columns to have only their intervals.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.
    groups : array-like of shape (n_samples,), optional
        Plate, batch or donor of each row; groups are resampled, at least two. By default rows are,
        as if each were independent of all others, which makes intervals too short for wells of one
        plate.
    kind : {"average", "maximum"}, default="average"
    confidence : float, default=0.95
    n_resamples : int, default=1000
    random_state : int or RandomState, optional

    Returns
    -------
    SelectivityIntervals
        With `.values`, `.low` and `.high` (n_components, n_labels).

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, there are fewer than two labels or
        groups, a labelled row has no group, or an option is out of range.

    Notes
    -----
    From few groups, say fewer than ten, the bootstrap knows too little: its intervals are too
    short, and resamples often lack a label that is in few groups (see `n_valid`). Intervals of the
    best of many features are not corrected for the choice: see `corrected_selectivity`. Time goes
    as n_resamples x n_components x n_labels, 0.1 to 0.2 us each. Arrays hold 2**24 values at a
    time, or n_resamples x n_labels if that is more.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import selectivity_intervals
    >>> labels = np.repeat(["HeLa", "U2OS"], 100)
    >>> Z = np.zeros((200, 1))
    >>> Z[:80] = 1.0
    >>> result = selectivity_intervals(Z, labels, random_state=0)
    >>> result.values[0].round(2).tolist()
    [0.8, -0.8]
    >>> bool(0.7 < result.low[0, 0] < 0.75 and 0.85 < result.high[0, 0] < 0.9)
    True
    """
    check_choice(kind, "kind", ("average", "maximum"))
    check_number(confidence, "confidence", low=0.0, high=1.0, closed=False)
    check_count(n_resamples, "n_resamples")
    design, rng = make_design(Z, labels, groups), seeded_generator(random_state)
    if groups is not None and design.n_groups < 2:
        raise InputError(f"groups must have at least two values, got {design.n_groups}")
    formula = _average if kind == "average" else _maximum
    values = np.ascontiguousarray(formula(design.active, design.totals).T)
    low, high = np.full((2, *values.shape), np.nan)
    resamples = (
        _Rows(design, n_resamples, rng) if groups is None else _Groups(design, n_resamples, rng)
    )
    valid = resamples.valid()
    level = (1.0 - confidence) / 2.0
    for columns, active in resamples.blocks():
        scores = _scores(active, resamples.totals, kind)
        for label, rows in enumerate(valid):
            if rows.any():
                ends = np.quantile(scores[label][rows], [level, 1.0 - level], axis=0)
                low[columns, label], high[columns, label] = ends
    resampled = "rows" if groups is None else "groups"
    return SelectivityIntervals(
        values, low, high, design.names, kind, confidence, resampled, valid.sum(axis=1)
    )


class _Resamples(ABC):
    """Numbers of samples of each label, (n_labels, n_resamples), and of the active ones."""

    totals: npt.NDArray[np.int64]

    def valid(self) -> npt.NDArray[np.bool_]:
        """Which resamples have each label and another one, (n_labels, n_resamples)."""
        others = self.totals.sum(axis=0) - self.totals
        return np.asarray((self.totals > 0) & (others > 0))

    @abstractmethod
    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """Yield blocks of features with counts (n_labels, n_resamples, n_features)."""


class _Rows(_Resamples):
    def __init__(self, design: Design, n_resamples: int, rng: np.random.Generator) -> None:
        self._design, self._rng = design, rng
        n = int(design.totals.sum())
        shares = design.totals / n
        self.totals = rng.multinomial(n, shares, size=n_resamples).T.astype(np.int64)

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        shares = self._design.active / self._design.totals[:, None]
        for columns, _ in self._design.feature_blocks(self.totals.size):
            yield columns, self._rng.binomial(self.totals[:, :, None], shares[:, None, columns])


class _Groups(_Resamples):
    def __init__(self, design: Design, n_resamples: int, rng: np.random.Generator) -> None:
        self._design = design
        n_groups, n_labels = design.n_groups, len(design.names)
        # How often each group is drawn. float64, for products by BLAS: exact below 2**53.
        shares = np.full(n_groups, 1.0 / n_groups)
        self._times = rng.multinomial(n_groups, shares, size=n_resamples).astype(np.float64)
        kept = design.labels >= 0
        pairs = design.labels[kept] * n_groups + design.groups[kept]
        # Groups have few of the labels: only pairs that occur are counted.
        present, places, sizes = np.unique(pairs, return_inverse=True, return_counts=True)
        self._numbers = np.full(len(kept), -1, dtype=np.int64)
        self._numbers[kept] = places
        self._groups = present % n_groups
        self._starts = np.searchsorted(present, np.arange(n_labels + 1) * n_groups)
        self.totals = self._weighted(sizes[:, None])[:, :, 0].astype(np.int64)

    def blocks(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        n_pairs = len(self._groups)
        for columns, codes in self._design.feature_blocks(max(self.totals.size, n_pairs)):
            yield columns, self._weighted(count_active(codes, self._numbers, n_pairs))

    def _weighted(self, counts: npt.NDArray[np.int64]) -> _Values:
        """Sum counts (n_pairs, m) over the drawn groups: (n_labels, n_resamples, m)."""
        n_labels = len(self._starts) - 1
        out = np.empty((n_labels, len(self._times), counts.shape[1]))
        for label in range(n_labels):
            pairs = slice(self._starts[label], self._starts[label + 1])
            np.matmul(self._times[:, self._groups[pairs]], counts[pairs], out=out[label])
        return out


def _scores(active: npt.NDArray[Any], totals: npt.NDArray[np.int64], kind: Kind) -> _Values:
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
