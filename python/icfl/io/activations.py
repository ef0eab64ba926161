"""Activations with their labels, from a file or an array, in chunks that fit in memory.

A `.npy` file is mapped, not loaded: chunks are read as they are asked for. Tables (`.csv`,
`.parquet`) and archives (`.npz`) are read whole; their numeric columns are the features, the rest
is metadata.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl._validation import Floats, native_floats
from icfl.exceptions import InputError
from icfl.io.formats import read_columns, read_npy
from icfl.io.table import Table, listing, suggestion

__all__ = ["Activations", "open_activations", "read_metadata"]

# 64 MB of float32 at most: large enough for full-speed products, small beside any server's memory.
CHUNK_VALUES = 1 << 24

# CellProfiler and pycytominer mark the columns that are not measurements with this prefix.
METADATA_PREFIX = "Metadata_"


@dataclass(frozen=True, eq=False)
class Activations:
    """A matrix of activations and the labels of its rows.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        The activations, possibly mapped from a file.
    metadata : Table
        Labels, one row per sample; without columns if there are none.
    feature_names : tuple of str or None
        Names of the features where the source has them.
    source : str
        What error messages call the activations.
    """

    X: NDArray[Any]
    metadata: Table
    feature_names: tuple[str, ...] | None = None
    source: str = "X"

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n_samples, n_features)."""
        return self.X.shape[0], self.X.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.X, dtype=dtype) if copy else np.asarray(self.X, dtype=dtype)

    def chunks(self, n_rows: int | None = None) -> Iterator[tuple[slice, Floats]]:
        """Yield (rows, values) over all samples in order.

        Parameters
        ----------
        n_rows : int, optional
            Rows of a chunk. By default as many as make 64 MB of float32.

        Yields
        ------
        rows : slice
            Which samples these are.
        values : ndarray of shape (at most n_rows, n_features), float32 or float64
            Their activations; float64 where float32 cannot hold it.

        Raises
        ------
        InputError
            At the first value that is NaN or infinite; the message names its row and feature.
        """
        step = n_rows or max(1, CHUNK_VALUES // self.shape[1])
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            yield rows, self._floats(rows)

    def select(self, names: Sequence[str]) -> Activations:
        """Return the activations with the named features only, in that order.

        Raises
        ------
        InputError
            If a feature is missing or the source names none.
        """
        if self.feature_names is None:
            raise InputError(f"{self.source} does not name its features")
        place = {name: index for index, name in enumerate(self.feature_names)}
        missing = [name for name in names if name not in place]
        if missing:
            raise InputError(f"{self.source} lacks the features {listing(missing)}")
        if tuple(names) == self.feature_names:
            return self
        X = self.X[:, [place[name] for name in names]]
        return Activations(X, self.metadata, tuple(names), self.source)

    def _floats(self, rows: slice) -> Floats:
        floats = native_floats(np.ascontiguousarray(self.X[rows]))
        finite = np.isfinite(floats)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            name = repr(self.feature_names[column]) if self.feature_names else f"{column}"
            raise InputError(
                f"{self.source} holds {floats[row, column]} in row {rows.start + row}, "
                f"feature {name} (counted from 0); remove or fill such samples or features first"
            )
        return floats


def open_activations(
    source: str | os.PathLike[str] | ArrayLike,
    *,
    array: str | None = None,
    features: Sequence[str] | None = None,
    not_features: Sequence[str] = (),
) -> Activations:
    """Open activations for reading in chunks.

    Parameters
    ----------
    source : path or array-like of shape (n_samples, n_features)
        `.npy` (mapped), `.npz`, `.csv`, `.tsv` (also `.gz`), `.parquet`, or an array.
    array : str, optional
        Name of the array in an `.npz`, or of the list column in a `.parquet`. By default `X`, or
        the only one that is two-dimensional.
    features : sequence of str, optional
        Patterns (`*` and `?`) of the columns of a table that are features. By default every numeric
        column that is not in `not_features` and does not begin with `Metadata_`.
    not_features : sequence of str, default=()
        Columns of a table that are labels although they are numeric.

    Returns
    -------
    activations : Activations
        With everything in the file that is not a feature as metadata.

    Raises
    ------
    InputError
        If the source does not hold one numeric matrix with at least one row and one column.
    MissingDependencyError
        If pyarrow is needed and not installed.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "wells.npz"
    >>> np.savez(path, X=np.eye(3, dtype=np.float32), plate=np.array(["A", "A", "B"]))
    >>> activations = open_activations(path)
    >>> activations.shape, list(activations.metadata)
    ((3, 3), ['plate'])
    """
    if not isinstance(source, str | os.PathLike):
        return _checked(np.asarray(source), Table({}, source="X"), None, "X")
    path = Path(source)
    if path.name.lower().endswith(".npy"):
        return _checked(read_npy(path), Table({}, source=path.name), None, path.name)
    columns = read_columns(path)
    if features is None or array is not None:
        name = _matrix_name(columns, array, path.name)
        if name is not None:
            matrix = columns.pop(name)
            return _checked(matrix, _labels(columns, path.name, len(matrix)), None, path.name)
    names = _feature_columns(columns, features, not_features, path.name)
    matrix = _stacked([columns.pop(name) for name in names])
    return _checked(matrix, _labels(columns, path.name, len(matrix)), tuple(names), path.name)


def read_metadata(path: str | os.PathLike[str]) -> Table:
    """Read a table of labels, one row per sample.

    Parameters
    ----------
    path : str or os.PathLike
        A `.csv` or `.tsv` (also `.gz`), `.parquet`, or an `.npz` of one-dimensional arrays.

    Returns
    -------
    table : Table
        All columns that have one value per row.

    Raises
    ------
    InputError
        If the file's format is unknown or the file cannot be understood.
    MissingDependencyError
        If pyarrow is needed and not installed.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "wells.csv"
    >>> _ = path.write_text("plate,dose\\nA,0\\nB,10\\n")
    >>> read_metadata(path)["dose"]
    array([ 0, 10])
    """
    path = Path(path)
    columns = read_columns(path)
    n_rows = len(next(iter(columns.values()))) if columns else 0
    table = _labels(columns, path.name, n_rows)
    if not len(table):
        raise InputError(f"{path.name} holds no one-dimensional columns to use as metadata")
    return table


def _labels(columns: Mapping[str, NDArray[Any]], source: str, n_rows: int) -> Table:
    one_dimensional = {name: column for name, column in columns.items() if column.ndim == 1}
    return Table(one_dimensional, source=source, n_rows=n_rows)


def _matrix_name(
    columns: Mapping[str, NDArray[Any]], wanted: str | None, source: str
) -> str | None:
    """Return which of the columns is the matrix of activations; None where none is."""
    if wanted is not None:
        if wanted not in columns:
            raise InputError(
                f"{source} has no array {wanted!r}{suggestion(wanted, columns)}; "
                f"it has {listing(columns)}"
            )
        return wanted
    matrices = [name for name, column in columns.items() if column.ndim > 1]
    if "X" in matrices:
        return "X"
    if len(matrices) > 1:
        raise InputError(f"{source} holds several arrays ({listing(matrices)}): name one")
    return matrices[0] if matrices else None


def _feature_columns(
    columns: Mapping[str, NDArray[Any]],
    patterns: Sequence[str] | None,
    not_features: Sequence[str],
    source: str,
) -> list[str]:
    """Return the names of the columns that are features, in the order of the file."""
    if patterns is None:
        names = [
            name
            for name, column in columns.items()
            if _is_numeric(column)
            and name not in not_features
            and not name.startswith(METADATA_PREFIX)
        ]
        if not names:
            raise InputError(f"{source} has no numeric columns; it has {listing(columns)}")
        return names
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in columns):
            raise InputError(
                f"no column of {source} matches the features {pattern!r}; it has {listing(columns)}"
            )
    names = [name for name in columns if any(fnmatchcase(name, p) for p in patterns)]
    for name in names:
        if not _is_numeric(columns[name]) or columns[name].ndim != 1:
            raise InputError(f"{source}: feature column {name!r} does not hold numbers")
    return names


def _is_numeric(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "fiu"


def _stacked(columns: list[NDArray[Any]]) -> NDArray[np.float32]:
    """Return columns side by side as float32 (n_samples, n_features), the precision of codes."""
    matrix = np.empty((len(columns[0]), len(columns)), dtype=np.float32)
    for index, column in enumerate(columns):
        matrix[:, index] = column
    return matrix


def _checked(
    X: NDArray[Any], metadata: Table, names: tuple[str, ...] | None, source: str
) -> Activations:
    if X.ndim != 2:
        raise InputError(
            f"{source} has shape {X.shape}, expected two dimensions (n_samples, n_features)"
        )
    if 0 in X.shape:
        raise InputError(f"{source} has shape {X.shape}: it holds no activations")
    if not _is_numeric(X):
        raise InputError(f"{source} holds {X.dtype} values, expected numbers")
    return Activations(X, metadata, names, source)
