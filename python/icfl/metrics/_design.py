"""Codes, labels and groups as the measures of chance take them: checked and numbered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl._validation import check_matrix
from icfl.exceptions import InputError
from icfl.metrics._inputs import _SPAN_VALUES, _sparse_rows, count_active, row_blocks
from icfl.metrics._labels import MISSING, encode_labels


@dataclass(frozen=True, eq=False)
class Design:
    """Rows that take part, with their labels and groups as numbers.

    Attributes
    ----------
    codes : csr_array or ndarray of shape (n_samples, n_components)
    labels : ndarray of shape (n_samples,), int64
        Number of each row's label, -1 for rows that are left out.
    groups : ndarray of shape (n_samples,), int64
        The same for groups; all 0 without groups.
    names : ndarray of shape (n_labels,)
    group_names : ndarray of shape (n_groups,), or None without groups
    active : ndarray of shape (n_labels, n_components), int64
        Active samples of each label.
    totals : ndarray of shape (n_labels,), int64
        Samples of each label.
    """

    codes: Any
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    names: npt.NDArray[Any]
    group_names: npt.NDArray[Any] | None
    active: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]

    @property
    def n_groups(self) -> int:
        """How many groups; one without groups."""
        return 1 if self.group_names is None else len(self.group_names)

    def pattern(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """(indptr, indices) of the active entries, each once."""
        if not sparse.issparse(self.codes):
            return _dense_pattern(self.codes)
        codes = self.codes
        if not codes.has_canonical_format or not codes.data.all():
            codes = codes.copy()
            codes.sum_duplicates()
            codes.eliminate_zeros()
        return codes.indptr.astype(np.int64), codes.indices

    def feature_blocks(self, values_per_feature: int) -> Iterator[tuple[slice, Any]]:
        """Yield blocks of columns with their codes, such that 2**24 values are enough for each."""
        width = self.codes.shape[1]
        step = max(1, _SPAN_VALUES // max(1, values_per_feature))
        for start in range(0, width, step):
            columns = slice(start, min(start + step, width))
            yield columns, self.codes if step >= width else self.codes[:, columns]


def make_design(
    Z: Any,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike | None,
    *,
    labels_name: str = "labels",
    groups_name: str = "groups",
) -> Design:
    """Check and number; a row without a label is left out, one with a label must have a group.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, there are fewer than two labels, or a
        group is missing.
    """
    codes = checked_codes(Z)
    numbers, names = encode_labels(labels, codes.shape[0], labels_name)
    if len(names) < 2:
        raise InputError(f"{labels_name} must have at least two values, got {names.tolist()}")
    ids, group_names = number_groups(groups, numbers, groups_name)
    active = count_active(codes, numbers, len(names))
    totals = np.bincount(numbers[numbers >= 0], minlength=len(names)).astype(np.int64)
    return Design(codes, numbers.astype(np.int64), ids, names, group_names, active, totals)


def checked_codes(Z: Any) -> Any:
    """Return codes as CSR or as a matrix, read as they are."""
    return _sparse_rows(Z) if sparse.issparse(Z) else check_matrix(Z, "Z", minimum_rows=1)


def number_groups(
    groups: npt.ArrayLike | None, numbers: npt.NDArray[np.intp], name: str = "groups"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any] | None]:
    """Number the groups of the rows that have a label; all are 0, without names, if there are none.

    Raises
    ------
    InputError
        If a row with a label has no group.
    """
    if groups is None:
        return np.zeros(len(numbers), dtype=np.int64), None
    raw, names = encode_labels(groups, len(numbers), name)
    n_unknown = np.count_nonzero((raw < 0) & (numbers >= 0))
    if n_unknown:
        raise InputError(
            f"{name} must be known for every row with a label, {n_unknown} are missing"
        )
    used, ids = _used(raw, numbers >= 0)
    return ids, names[used]


def _used(
    numbers: npt.NDArray[np.intp], kept: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Number anew the groups that kept rows have; other rows have none."""
    used, places = np.unique(numbers[kept], return_inverse=True)
    ids = np.full(len(numbers), MISSING, dtype=np.int64)
    ids[kept] = places
    return used, ids


def _dense_pattern(codes: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    sizes, indices = [np.zeros(1, dtype=np.int64)], []
    for rows in row_blocks(codes.shape, _SPAN_VALUES):
        block = codes[rows] != 0
        sizes.append(block.sum(axis=1))
        indices.append(np.nonzero(block)[1])
    return np.cumsum(np.concatenate(sizes)).astype(np.int64), np.concatenate(indices)
