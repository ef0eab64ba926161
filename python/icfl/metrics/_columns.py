"""Columns that group or constrain rows: one array, or several by name, numbered together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from icfl.exceptions import InputError
from icfl.metrics._labels import MISSING, encode_labels

__all__ = ["named_columns", "number_rows"]


def named_columns(columns: Any, name: str) -> dict[str, Any]:
    """Return one array-like as ``{name: columns}``, a mapping or DataFrame column by column."""
    if not isinstance(columns, Mapping) and not hasattr(columns, "columns"):
        return {name: columns}
    found = {str(key): columns[key] for key in columns.keys()}  # noqa: SIM118 - a DataFrame's too
    if not found:
        raise InputError(f"{name} must have at least one column, got none")
    return found


def number_rows(
    columns: Mapping[str, Any], n_rows: int
) -> tuple[npt.NDArray[np.intp], dict[str, npt.NDArray[Any]]]:
    """Number the distinct combinations of labels in their sorted order.

    Parameters
    ----------
    columns : mapping of str to array-like of shape (n_rows,)
        Earlier columns sort first.
    n_rows : int

    Returns
    -------
    numbers : ndarray of shape (n_rows,)
        The combination of each row; `MISSING` (-1) where an entry is missing in any column.
    table : dict of str to ndarray of shape (n_combinations,)
        The labels of each combination, a column for each given.
    """
    numbers = np.zeros(n_rows, dtype=np.intp)
    missing = np.zeros(n_rows, dtype=bool)
    table: dict[str, npt.NDArray[Any]] = {}
    for name, column in columns.items():
        codes, classes = encode_labels(column, n_rows, name)
        missing |= codes == MISSING
        # Both factors are at most n_rows: the product fits 64 bits.
        both = numbers * max(1, len(classes)) + codes
        kept = np.flatnonzero(~missing)
        distinct, places = np.unique(both[kept], return_inverse=True)
        earlier, own = np.divmod(distinct, max(1, len(classes)))
        table = {key: values[earlier] for key, values in table.items()}
        table[name] = classes[own]
        numbers = np.full(n_rows, MISSING, dtype=np.intp)
        numbers[kept] = places
    return numbers, table
