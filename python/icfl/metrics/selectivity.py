"""Which features speak for which label: selectivity, as published.

With "active" meaning z_m != 0 and y the label of a sample,

    average: P(active | y = i) - P(active | y != i)
    maximum: P(active | y = i) - max_{j != i} P(active | y = j)

Both lie between -1 and 1 and maximum never exceeds average: a feature that is shared by two labels
keeps a fair average selectivity and loses its maximum one.

All of it follows from counts (n_labels, n_components), which add up over batches and machines. They
are made by the compiled module in one pass over the non-zeros.

Reference: Donhauser et al. (2025), "Towards scientific discovery with dictionary learning",
PMLR 267:14321-14343.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl._validation import check_choice
from icfl.exceptions import InputError
from icfl.metrics._inputs import count_active
from icfl.metrics._labels import encode_labels, sorted_classes

Kind = Literal["average", "maximum"]


@dataclass(frozen=True, eq=False)
class Selectivity:
    """Selectivity of every feature for every label; `np.asarray` of it gives the values.

    Attributes
    ----------
    values : ndarray of shape (n_components, n_labels), float64
    labels : ndarray of shape (n_labels,)
        The label of each column, sorted.
    kind : {"average", "maximum"}
    n_samples : ndarray of shape (n_labels,), int64
        How many samples carry each label.
    """

    values: npt.NDArray[np.float64]
    labels: npt.NDArray[Any]
    kind: Kind
    n_samples: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_components, n_labels)."""
        return self.values.shape[0], self.values.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        values = self.values if dtype is None else self.values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def best(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
        """Return each feature's most selective label and its value; ties to the first label."""
        columns = self.values.argmax(axis=1)
        return self.labels[columns], self.values[np.arange(len(columns)), columns]

    def count_above(self, threshold: float) -> int:
        """Return how many features have a selectivity above `threshold` for some label."""
        return int(np.count_nonzero(self.values.max(axis=1) > threshold))

    def __repr__(self) -> str:
        n_components, n_labels = self.shape
        return f"Selectivity(kind={self.kind!r}, n_components={n_components}, n_labels={n_labels})"


class SelectivityCounts:
    """Counts behind selectivity, over a stream of codes and labels; mergeable.

    Labels may first appear in any batch; their order does not matter.

    Attributes
    ----------
    n_missing : int
        Rows without a label so far. They are left out: an unlabelled sample is evidence neither for
        a label nor against it.

    Examples
    --------
    >>> from icfl.metrics import SelectivityCounts
    >>> plate_1 = SelectivityCounts().update([[1.0, 0.0], [2.0, 1.0]], ["HeLa", "HeLa"])
    >>> plate_2 = SelectivityCounts().update([[0.0, 3.0], [0.0, 0.0]], ["U2OS", None])
    >>> plate_1.merge(plate_2).selectivity().values.tolist()
    [[1.0, -1.0], [-0.5, 0.5]]
    """

    def __init__(self) -> None:
        self.n_missing = 0
        self._index: dict[Hashable, int] = {}
        self._active: npt.NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
        self._totals: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def update(self, Z: Any, labels: npt.ArrayLike) -> SelectivityCounts:
        """Add a batch.

        Parameters
        ----------
        Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
            Codes.
        labels : array-like of shape (n_samples,)
            Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.

        Returns
        -------
        self : SelectivityCounts

        Raises
        ------
        InputError, InputTypeError
            If shapes disagree, or codes are not finite real numbers. Nothing is added then.
        """
        added = SelectivityCounts()
        shape = Z.shape if sparse.issparse(Z) else np.shape(Z)
        codes, classes = encode_labels(labels, shape[0] if shape else 0)
        added._active = count_active(Z, codes, len(classes))
        added._index = {label: i for i, label in enumerate(classes.tolist())}
        added._totals = np.bincount(codes[codes >= 0], minlength=len(classes)).astype(np.int64)
        added.n_missing = int(np.count_nonzero(codes < 0))
        if self._active.shape == (0, 0):  # nothing seen so far: no second array of counts
            vars(self).update(vars(added))
            return self
        return self.merge(added)

    def merge(self, other: SelectivityCounts) -> SelectivityCounts:
        """Add everything `other` has seen; `other` is left as it is.

        Raises
        ------
        InputError
            If the two have seen different numbers of components.
        """
        width, other_width = self._active.shape[1], other._active.shape[1]
        if width and other_width and width != other_width:
            raise InputError(f"codes must keep the same n_components, got {width}, {other_width}")
        for label in other._index:
            self._index.setdefault(label, len(self._index))
        self._grow(len(self._index), max(width, other_width))
        for label, active, total in zip(other._index, other._active, other._totals, strict=True):
            self._active[self._index[label]] += active
            self._totals[self._index[label]] += total
        self.n_missing += other.n_missing
        return self

    def _grow(self, n_labels: int, n_components: int) -> None:
        old = self._active
        if old.shape != (n_labels, n_components):
            self._active = np.zeros((n_labels, n_components), dtype=np.int64)
            self._active[: old.shape[0], : old.shape[1]] = old
            self._totals = np.pad(self._totals, (0, n_labels - len(self._totals)))

    def selectivity(self, kind: Kind = "average") -> Selectivity:
        """Return the selectivity of all that was counted.

        Parameters
        ----------
        kind : {"average", "maximum"}, default="average"
            Compare a label with all other samples together, or with the most active other label.

        Returns
        -------
        Selectivity

        Raises
        ------
        InputError
            If fewer than two labels were seen, or `kind` is unknown.
        """
        check_choice(kind, "kind", ("average", "maximum"))
        formula = _average if kind == "average" else _maximum
        if len(self._index) < 2:
            raise InputError(f"labels must have at least two values, got {list(self._index)}")
        labels = sorted_classes(list(self._index))
        order = [self._index[label] for label in labels.tolist()]
        sorted_already = order == list(range(len(order)))
        active = self._active if sorted_already else self._active[order]
        totals = self._totals[order]
        return Selectivity(formula(active, totals).T, labels, kind, totals)

    def __repr__(self) -> str:
        n_labels, n_components = self._active.shape
        return f"SelectivityCounts(n_components={n_components}, n_labels={n_labels})"


# Both formulas go label by label: a row of counts stays in cache from its first use to its last,
# where whole arrays would make four temporaries of the result's size.


def _average(
    active: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    values = np.empty(active.shape)
    everywhere, n_samples = active.sum(axis=0), totals.sum()
    for row, total, out in zip(active, totals, values, strict=True):
        np.subtract(row / total, (everywhere - row) / (n_samples - total), out=out)
    return values


def _maximum(
    active: npt.NDArray[np.int64], totals: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    share: npt.NDArray[np.float64] = active / totals[:, None]
    first, second = np.full((2, share.shape[1]), -np.inf)
    for row in share:
        np.maximum(second, np.minimum(first, row), out=second)
        np.maximum(first, row, out=first)
    for row in share:
        # The best other label is the best one, except for the best label itself; where two labels
        # share that place, the second is as good.
        row -= np.where(row < first, first, second)
    return share


def selectivity(Z: Any, labels: npt.ArrayLike, kind: Kind = "average") -> Selectivity:
    """Selectivity of every feature for every label.

    "average" is P(active | y = i) - P(active | y != i); "maximum" is
    P(active | y = i) - max_{j != i} P(active | y = j). Active means z != 0. Rows without a label
    are left out.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes. Sparse codes are never made dense.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label.
    kind : {"average", "maximum"}, default="average"

    Returns
    -------
    Selectivity
        With `.values` (n_components, n_labels), `.labels` and `.count_above(threshold)`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, fewer than two labels are present, or
        `kind` is unknown.

    See Also
    --------
    SelectivityCounts : the same for streams, mergeable.

    Notes
    -----
    With few samples per label, some of very many features look selective by chance: compare with
    shuffled labels before reading much into a count.

    References
    ----------
    Donhauser et al. (2025), "Towards scientific discovery with dictionary learning", PMLR 267.

    Examples
    --------
    >>> from icfl.metrics import selectivity
    >>> Z = [[1.0, 0.0], [2.0, 1.0], [0.0, 3.0], [0.0, 0.5]]
    >>> result = selectivity(Z, ["HeLa", "HeLa", "U2OS", "A549"])
    >>> result.labels.tolist()
    ['A549', 'HeLa', 'U2OS']
    >>> result.values.round(2).tolist()
    [[-0.67, 1.0, -0.67], [0.33, -0.5, 0.33]]
    >>> result.count_above(0.5)
    1
    """
    return SelectivityCounts().update(Z, labels).selectivity(kind)
