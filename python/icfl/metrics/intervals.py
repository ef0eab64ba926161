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

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl._frames import data_frame
from icfl._validation import check_choice, check_count, check_number, seeded_generator
from icfl.exceptions import InputError
from icfl.metrics._design import checked_codes, number_groups
from icfl.metrics._inputs import count_active
from icfl.metrics._labels import encode_labels, sorted_classes
from icfl.metrics._resamples import (
    Counted,
    Counts,
    GroupResamples,
    RowResamples,
    Values,
    column_blocks,
    scores,
)
from icfl.metrics.selectivity import Kind, _average, _maximum


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

    values: Values
    low: Values
    high: Values
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


class SelectivityIntervalCounts:
    """Counts behind intervals of selectivity, over a stream of codes and labels; mergeable.

    What several machines have counted, of the same groups or of others, merges into what one would
    have counted of all rows, and gives the same intervals to the bit. Memory is for each label and
    group that occur together and the features that are active there.

    Attributes
    ----------
    n_missing : int
        Rows without a label so far; they are left out.

    Examples
    --------
    >>> from icfl.metrics import SelectivityIntervalCounts
    >>> here = SelectivityIntervalCounts().update([[1.0], [0.0]], ["a", "b"], ["P1", "P1"])
    >>> there = SelectivityIntervalCounts().update([[2.0], [3.0]], ["a", "b"], ["P2", "P2"])
    >>> here.merge(there).intervals(random_state=0).low.tolist()
    [[0.0, -1.0]]
    """

    def __init__(self) -> None:
        self.n_missing = 0
        self._grouped: bool | None = None
        self._index: dict[tuple[Hashable, Hashable], int] = {}
        self._samples: Counts = np.zeros(0, dtype=np.int64)
        self._active: Any = None

    def update(
        self, Z: Any, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None
    ) -> SelectivityIntervalCounts:
        """Add a batch.

        Parameters
        ----------
        Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
            Codes.
        labels : array-like of shape (n_samples,)
            Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.
        groups : array-like of shape (n_samples,), optional
            Plate, batch or donor of each row, in every batch or in none.

        Returns
        -------
        self : SelectivityIntervalCounts

        Raises
        ------
        InputError, InputTypeError
            If shapes disagree, codes are not finite real numbers, a labelled row has no group, or
            groups came with some batches only. Nothing is added then.
        """
        added = SelectivityIntervalCounts()
        codes = checked_codes(Z)
        numbers, names = encode_labels(labels, codes.shape[0])
        ids, group_names = number_groups(groups, numbers)
        n_groups = 1 if group_names is None else len(group_names)
        kept = numbers >= 0
        pairs, places, sizes = np.unique(
            numbers[kept] * n_groups + ids[kept], return_inverse=True, return_counts=True
        )
        rows = np.full(len(kept), -1, dtype=np.intp)
        rows[kept] = places
        of_label = names[pairs // n_groups].tolist()
        of_group = (
            [0] * len(pairs) if group_names is None else group_names[pairs % n_groups].tolist()
        )
        added.n_missing = int(np.count_nonzero(~kept))
        added._grouped = group_names is not None
        added._index = {key: i for i, key in enumerate(zip(of_label, of_group, strict=True))}
        added._samples = sizes.astype(np.int64)
        added._active = _sparse_counts(codes, rows, len(pairs))
        return self.merge(added)

    def merge(self, other: SelectivityIntervalCounts) -> SelectivityIntervalCounts:
        """Add everything `other` has seen; `other` is left as it is.

        Raises
        ------
        InputError
            If the two have seen different numbers of components, or one groups and the other none.
        """
        if other._active is None:
            return self
        if self._active is None:
            vars(self).update(vars(other) | {"_index": dict(other._index)})
            return self
        width, other_width = self._active.shape[1], other._active.shape[1]
        if width != other_width:
            raise InputError(f"codes must keep the same n_components, got {width}, {other_width}")
        if self._grouped != other._grouped:
            raise InputError("groups must come with every batch or with none, got both")
        index = dict(self._index)
        places = np.array([index.setdefault(key, len(index)) for key in other._index], np.intp)
        samples = np.zeros(len(index), dtype=np.int64)
        samples[: len(self._samples)] = self._samples
        samples[places] += other._samples
        self._active = _added(self._active, other._active, places, len(index))
        self._index, self._samples = index, samples
        self.n_missing += other.n_missing
        return self

    def intervals(
        self,
        *,
        kind: Kind = "average",
        confidence: float = 0.95,
        n_resamples: int = 1000,
        random_state: int | np.random.RandomState | None = None,
    ) -> SelectivityIntervals:
        """Return the intervals of all that was counted.

        Parameters
        ----------
        kind : {"average", "maximum"}, default="average"
        confidence : float, default=0.95
        n_resamples : int, default=1000
        random_state : int or RandomState, optional

        Returns
        -------
        SelectivityIntervals

        Raises
        ------
        InputError, InputTypeError
            If fewer than two labels or groups were seen, or an option is out of range.
        """
        check_choice(kind, "kind", ("average", "maximum"))
        check_number(confidence, "confidence", low=0.0, high=1.0, closed=False)
        check_count(n_resamples, "n_resamples")
        counted, rng = self._counted(), seeded_generator(random_state)
        formula = _average if kind == "average" else _maximum
        values = np.ascontiguousarray(formula(counted.by_label, counted.totals).T)
        low, high = np.full((2, *values.shape), np.nan)
        resampling = GroupResamples if self._grouped else RowResamples
        resamples = resampling(counted, n_resamples, rng)
        valid = resamples.valid()
        level = (1.0 - confidence) / 2.0
        for columns, active in resamples.blocks():
            found = scores(active, resamples.totals, kind)
            for label, rows in enumerate(valid):
                if rows.any():
                    ends = np.quantile(found[label][rows], [level, 1.0 - level], axis=0)
                    low[columns, label], high[columns, label] = ends
        resampled = "groups" if self._grouped else "rows"
        return SelectivityIntervals(
            values, low, high, counted.names, kind, confidence, resampled, valid.sum(axis=1)
        )

    def _counted(self) -> Counted:
        """Sort what was counted by label and group, so that no order of merging shows."""
        of_label, of_group = ([key[side] for key in self._index] for side in (0, 1))
        names = list(dict.fromkeys(of_label))
        if len(names) < 2:
            raise InputError(f"labels must have at least two values, got {names}")
        groups = list(dict.fromkeys(of_group))
        if self._grouped and len(groups) < 2:
            raise InputError(f"groups must have at least two values, got {len(groups)}")
        labels, group_names = sorted_classes(names), sorted_classes(groups, "groups")
        label, group = _places(of_label, labels), _places(of_group, group_names)
        order = np.lexsort((group, label))
        return Counted(
            labels, len(groups), label[order], group[order], self._samples[order],
            self._active[order],
        )  # fmt: skip

    def __repr__(self) -> str:
        n_labels, n_groups = (len({key[side] for key in self._index}) for side in (0, 1))
        return (
            f"SelectivityIntervalCounts(n_labels={n_labels}, "
            f"n_groups={n_groups if self._grouped else None}, n_rows={int(self._samples.sum())})"
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

    See Also
    --------
    SelectivityIntervalCounts : the same for streams, mergeable.

    Notes
    -----
    From few groups, say fewer than ten, the bootstrap knows too little: its intervals are too
    short, and resamples often lack a label that is in few groups (see `n_valid`). Intervals of the
    best of many features are not corrected for the choice: see `corrected_selectivity`. Time goes
    as n_resamples x n_components x n_labels, 0.1 to 0.2 us each. Arrays hold 2**24 values at a
    time, or n_resamples x n_labels if that is more, beside counts that are at most as many as the
    codes.

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
    return (
        SelectivityIntervalCounts()
        .update(Z, labels, groups)
        .intervals(
            kind=kind, confidence=confidence, n_resamples=n_resamples, random_state=random_state
        )
    )


def _places(entries: list[Any], names: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    numbers = {name: number for number, name in enumerate(names.tolist())}
    return np.array([numbers[entry] for entry in entries], dtype=np.intp)


def _sparse_counts(codes: Any, rows: npt.NDArray[np.intp], n_pairs: int) -> Any:
    """Count active samples of each pair; as many stored values as codes at most."""
    width = codes.shape[1]
    parts = [
        sparse.csr_array(
            count_active(codes if block == slice(0, width) else codes[:, block], rows, n_pairs)
        )
        for block in column_blocks(width, n_pairs)
    ]
    return parts[0] if len(parts) == 1 else sparse.hstack(parts, format="csr")


def _added(first: Any, second: Any, places: npt.NDArray[np.intp], n_pairs: int) -> Any:
    """Add two tables of counts, rows of the second going to `places`."""
    one, two = first.tocoo(), second.tocoo()
    rows = np.concatenate([one.row, places[two.row]])
    columns = np.concatenate([one.col, two.col])
    data = np.concatenate([one.data, two.data])
    # Integers: the sum of what coincides is exact.
    return sparse.csr_array((data, (rows, columns)), shape=(n_pairs, first.shape[1]))
