"""Codes of many rows as codes of what they belong to: token to cell, cell to well.

For a group g of n_g rows and a feature m,

    mean:       1/n_g  sum of z_im over the rows i of g
    max:        the largest z_im, implicit zeros included
    frequency:  share of the rows of g with z_im != 0

Everything stays sparse and takes time for the non-zeros alone. Batches and machines merge: counts
and maxima give the same bits however the rows were split; sums, taken in float64, are equal to the
rounding of n_g additions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl._frames import data_frame
from icfl._validation import check_choice, native_floats
from icfl.exceptions import InputError
from icfl.metrics._columns import named_columns, number_rows
from icfl.metrics._inputs import as_codes, require_finite, row_blocks

__all__ = ["Aggregated", "Aggregator", "How", "aggregate"]

How = Literal["mean", "max", "frequency"]

# Non-zeros reduced at a time: 32 MiB of float64 and 48 of places.
_CHUNK_STORED = 1 << 22
# Values of dense rows that become compressed rows at a time.
_SPAN_VALUES = 1 << 22


@dataclass(frozen=True, eq=False)
class Aggregated:
    """Codes of groups of rows.

    Attributes
    ----------
    codes : scipy.sparse.csr_array of shape (n_groups, n_components)
        float32 if all the rows were, else float64; indices sorted, no stored zeros.
    groups : dict of str to ndarray of shape (n_groups,)
        The labels of each group, column by column, sorted by the first column, then the second.
    n_rows : ndarray of shape (n_groups,), int64
        How many rows each group has.
    how : {"mean", "max", "frequency"}
    """

    codes: Any
    groups: dict[str, npt.NDArray[Any]]
    n_rows: npt.NDArray[np.int64]
    how: How

    def to_frame(self) -> Any:
        """Return the table of groups, with their numbers of rows, as a pandas DataFrame."""
        return data_frame({**self.groups, "n_rows": self.n_rows})

    def __repr__(self) -> str:
        n_groups, n_components = self.codes.shape
        columns = list(self.groups)
        return f"Aggregated({columns}, n_groups={n_groups}, n_components={n_components})"


@dataclass(frozen=True, eq=False)
class _Part:
    """What is known of some groups.

    `codes` has a row for each of the ascending `groups`; `active` counts, for each stored value,
    the rows with a non-zero code.
    """

    groups: npt.NDArray[np.intp]
    codes: Any
    active: npt.NDArray[np.int64]


class Aggregator:
    """Aggregation over a stream of codes; mergeable.

    Rows of a group may come in any batch. Memory is for the groups seen so far, about twice over,
    and a batch.

    Parameters
    ----------
    how : {"mean", "max", "frequency"}, default="mean"

    Attributes
    ----------
    n_missing : int
        Rows so far that lacked a label and were left out.

    Examples
    --------
    >>> from icfl import Aggregator
    >>> wells = Aggregator("max")
    >>> wells.update([[1.0, -2.0], [3.0, -1.0]], ["A01", "A01"]).n_missing
    0
    >>> other = Aggregator("max").update([[0.5, 0.0]], ["A01"])
    >>> wells.merge(other).result().codes.toarray().tolist()
    [[3.0, 0.0]]
    """

    def __init__(self, how: How = "mean") -> None:
        self.how: How = how
        self.n_missing = 0
        self._index: dict[tuple[Any, ...], int] = {}
        self._columns: list[str] = []
        self._n_rows: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._parts: list[_Part] = []
        self._dtype: Any = np.float32

    def update(self, Z: Any, groups: Any) -> Aggregator:
        """Add a batch.

        Parameters
        ----------
        Z : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_components)
            Codes, or dense rows of any kind.
        groups : array-like of shape (n_samples,), or mapping or DataFrame of such
            What each row belongs to: one column, or several, whose combinations are the groups.
            Rows with a missing entry (None, NaN, "") are left out.

        Returns
        -------
        self : Aggregator

        Raises
        ------
        InputError, InputTypeError
            If shapes disagree, columns or widths change, or values are not finite real numbers.
            Nothing is added then.
        """
        check_choice(self.how, "how", ("mean", "max", "frequency"))
        added = Aggregator(self.how)
        codes = as_codes(Z)
        numbers, table = number_rows(named_columns(groups, "group"), codes.shape[0])
        n_groups = len(next(iter(table.values())))
        added._columns = list(table)
        keys = zip(*(column.tolist() for column in table.values()), strict=True)
        added._index = {key: number for number, key in enumerate(keys)}
        added._n_rows = np.bincount(numbers[numbers >= 0], minlength=n_groups).astype(np.int64)
        added.n_missing = int(np.count_nonzero(numbers < 0))
        for rows, block in _compressed(codes):
            require_finite(block.data, "Z")
            added._dtype = block.dtype
            ones = np.ones(block.nnz, dtype=np.int64)
            added._push(_reduce(block, ones, numbers[rows], added._ufunc))
        return self.merge(added)

    def merge(self, other: Aggregator) -> Aggregator:
        """Add everything `other` has seen; `other` is left as it is.

        Raises
        ------
        InputError
            If the two aggregate differently, by other columns, or codes of other widths.
        """
        if other.how != self.how:
            raise InputError(f"how must be the same, got {self.how!r} and {other.how!r}")
        if not other._parts:
            return self
        if self._parts and self._columns != other._columns:
            raise InputError(f"groups must keep columns {self._columns}, got {other._columns}")
        widths = [part.codes.shape[1] for part in (*self._parts[:1], *other._parts[:1])]
        if widths[0] != widths[-1]:
            raise InputError(f"codes must keep the same n_components, got {widths[0]}, {widths[1]}")
        index = self._index
        places = np.array([index.setdefault(key, len(index)) for key in other._index], np.intp)
        n_rows = np.zeros(len(index), dtype=np.int64)
        n_rows[: len(self._n_rows)] = self._n_rows
        n_rows[places] += other._n_rows
        for part in list(other._parts):
            self._push(_Part(places[part.groups], part.codes, part.active))
        self._n_rows, self._columns = n_rows, other._columns
        self.n_missing += other.n_missing
        self._dtype = np.promote_types(self._dtype, other._dtype)
        return self

    def result(self) -> Aggregated:
        """Return the codes of all groups seen so far, in the sorted order of their labels.

        Returns
        -------
        Aggregated

        Raises
        ------
        InputError, InputTypeError
            If nothing was seen, or a column has strings in one batch and numbers in another.
        """
        if not self._index:
            raise InputError("Aggregator has seen no row with a group; call update first")
        # As objects, or NumPy would turn a mixture into strings.
        entries = np.empty((len(self._index), len(self._columns)), dtype=object)
        for row, key in enumerate(self._index):
            entries[row] = key
        columns = dict(zip(self._columns, entries.T, strict=True))
        numbers, table = number_rows(columns, len(entries))
        part = self._join(self._parts)
        codes, order = self._finished(part), np.argsort(numbers)
        return Aggregated(codes[order].astype(self._dtype), table, self._n_rows[order], self.how)

    @property
    def _ufunc(self) -> np.ufunc:
        return np.maximum if self.how == "max" else np.add

    def _push(self, part: _Part) -> None:
        # As in a binary counter: every value is joined again only when as many have come since.
        self._parts.append(part)
        while len(self._parts) > 1:
            earlier, last = (part.codes.nnz for part in self._parts[-2:])
            if earlier > 2 * last:
                return
            self._parts[-2:] = [self._join(self._parts[-2:])]

    def _join(self, parts: list[_Part]) -> _Part:
        codes = sparse.vstack([part.codes for part in parts], format="csr")
        active = np.concatenate([part.active for part in parts])
        groups = np.concatenate([part.groups for part in parts])
        return _reduce(codes, active, groups, self._ufunc)

    def _finished(self, part: _Part) -> Any:
        """Return the codes of the groups 0, 1, ... from what is known of all of them."""
        n_rows = np.repeat(self._n_rows, np.diff(part.codes.indptr))
        if self.how == "mean":
            data = part.codes.data / n_rows
        elif self.how == "frequency":
            data = part.active / n_rows
        else:  # a row without a stored value has a zero, which may be the largest
            some_zero = part.active < n_rows
            data = np.where(some_zero, np.maximum(part.codes.data, 0.0), part.codes.data)
        parts = (data, part.codes.indices, part.codes.indptr)
        codes = sparse.csr_array(parts, shape=part.codes.shape)
        codes.eliminate_zeros()
        return codes

    def __repr__(self) -> str:
        n_rows = int(self._n_rows.sum())
        return f"Aggregator(how={self.how!r}, n_groups={len(self._index)}, n_rows={n_rows})"


def aggregate(Z: Any, groups: Any, how: How = "mean") -> Aggregated:
    """Aggregate the codes of rows that belong together: token to cell, cell to well.

    Parameters
    ----------
    Z : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_components)
        Codes, or dense rows of any kind. Sparse codes stay sparse.
    groups : array-like of shape (n_samples,), or mapping or DataFrame of such
        What each row belongs to: one column, or several (``{"plate": ..., "well": ...}``), whose
        combinations are the groups. Rows with a missing entry (None, NaN, "") are left out.
    how : {"mean", "max", "frequency"}, default="mean"
        Mean over the group's rows, zeros included; largest code, where rows without a stored code
        have zero; or share of the rows with a code that is not zero.

    Returns
    -------
    Aggregated
        With `.codes`, a csr_array of shape (n_groups, n_components) with a row per group in sorted
        order, `.groups`, the labels of each column, `.n_rows` and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, no row has a group, or values are not finite real numbers.

    See Also
    --------
    Aggregator : the same for streams, mergeable.

    Notes
    -----
    Sums are in float64. Means of the same rows in other batches differ by at most the rounding of
    their additions, (n_g - 1) eps sum|z| / n_g; maxima and frequencies not at all.

    Examples
    --------
    >>> import icfl
    >>> Z = [[1.0, 0.0, -2.0], [3.0, 0.0, -1.0], [0.0, 5.0, 0.0]]
    >>> wells = icfl.aggregate(Z, ["B02", "B02", "A01"])
    >>> wells.groups["group"].tolist(), wells.n_rows.tolist()
    (['A01', 'B02'], [1, 2])
    >>> wells.codes.toarray().tolist()
    [[0.0, 5.0, 0.0], [2.0, 0.0, -1.5]]
    >>> icfl.aggregate(Z, ["B02", "B02", "A01"], how="max").codes.toarray().tolist()
    [[0.0, 5.0, 0.0], [3.0, 0.0, -1.0]]
    """
    return Aggregator(how).update(Z, groups).result()


def _compressed(codes: Any) -> Iterator[tuple[slice, Any]]:
    """Yield the rows as CSR of float32 or float64 without stored zeros, with their places."""
    if not sparse.issparse(codes):
        for rows in row_blocks(codes.shape, _SPAN_VALUES):
            yield rows, sparse.csr_array(native_floats(codes[rows]))
        return
    if not codes.data.all():
        codes = codes.copy()
        codes.eliminate_zeros()
    yield slice(0, codes.shape[0]), codes


def _reduce(
    codes: Any, active: npt.NDArray[np.int64], groups: npt.NDArray[np.intp], ufunc: np.ufunc
) -> _Part:
    """Bring the rows of each group together; rows with group -1 are left out."""
    kept = np.flatnonzero(groups >= 0)
    order = kept[np.argsort(groups[kept], kind="stable")]
    found, firsts = np.unique(groups[order], return_index=True)
    lengths = np.diff(codes.indptr)[order].astype(np.int64)
    stored = np.append(0, np.cumsum(lengths))
    bounds = np.append(firsts, len(order))
    pieces = []
    for start, stop in _chunks(stored[bounds]):
        rows = slice(bounds[start], bounds[stop])
        entries = _entries(codes.indptr[order[rows]], lengths[rows])
        ends = stored[bounds[start : stop + 1]] - stored[bounds[start]]
        pieces.append(_reduce_chunk(codes, active, entries, ends, ufunc))
    values, counts, indices, widths = map(np.concatenate, zip(*pieces, strict=True))
    indptr = np.append(0, np.cumsum(widths))
    shape = (len(found), codes.shape[1])
    return _Part(found, sparse.csr_array((values, indices, indptr), shape=shape), counts)


def _chunks(stored: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of groups with about `_CHUNK_STORED` values each; at least one range."""
    n_groups, start = len(stored) - 1, 0
    while True:
        limit = stored[start] + _CHUNK_STORED
        stop = max(start + 1, int(np.searchsorted(stored, limit, side="right")) - 1)
        stop = min(stop, n_groups)
        yield start, stop
        if stop >= n_groups:
            return
        start = stop


def _entries(starts: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the places of the stored values of rows, row after row."""
    shifts = starts - np.append(0, np.cumsum(lengths)[:-1])[: len(starts)]
    return np.repeat(shifts, lengths) + np.arange(lengths.sum())


def _reduce_chunk(
    codes: Any,
    active: npt.NDArray[np.int64],
    entries: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    ufunc: np.ufunc,
) -> tuple[npt.NDArray[Any], ...]:
    """Return values, active counts, indices, and how many of them each group has."""
    # SciPy sorts the indices of each row in C++: the groups are the rows, the entries their data.
    shape = (len(ends) - 1, codes.shape[1])
    by_group = sparse.csr_array((entries, codes.indices[entries], ends), shape=shape)
    by_group.sort_indices()
    entries, indices = by_group.data, by_group.indices
    new = np.ones(len(entries), dtype=bool)
    new[1:] = indices[1:] != indices[:-1]
    new[ends[:-1][ends[:-1] < len(entries)]] = True
    starts = np.flatnonzero(new)
    widths = np.diff(np.searchsorted(starts, ends))
    if len(starts) == 0:  # reduceat refuses it
        return np.zeros(0), np.zeros(0, np.int64), indices, widths
    values = ufunc.reduceat(codes.data[entries].astype(np.float64, copy=False), starts)
    return values, np.add.reduceat(active[entries], starts), indices[starts], widths
