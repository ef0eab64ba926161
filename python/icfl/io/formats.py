"""One file, its columns: a mapping of names to arrays, whatever the format.

A column has one row per sample: shape (n_rows,), or (n_rows, width) where a format can hold a whole
matrix under one name (`.npz`, list columns of `.parquet`).
"""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import InputError, MissingDependencyError
from icfl.io.csv_reader import read_csv

__all__ = ["SUFFIXES", "read_columns", "read_npy"]

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")

# Names of arrays that describe features, not samples, even where there are as many of each.
FEATURE_NAMES = "feature_names"


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """Read every column of a table file.

    Parameters
    ----------
    path : pathlib.Path
        `.csv`, `.tsv`, either with `.gz`, `.npz` or `.parquet`.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_rows,) or (n_rows, width)
        In the order of the file.

    Raises
    ------
    InputError
        If the format is unknown or the file cannot be understood.
    OSError
        If the file cannot be opened.
    """
    name = path.name.lower()
    if name.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")):
        return read_csv(path)
    if name.endswith(".npz"):
        return _read_npz(path)
    if name.endswith(".parquet"):
        return _read_parquet(path)
    raise InputError(f"{path.name}: unknown format, expected one of {', '.join(SUFFIXES)}")


def read_npy(path: Path) -> NDArray[Any]:
    """Map a `.npy` file into memory, read-only; nothing is loaded until it is used."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path.name} is not a readable .npy array: {error}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path.name} is an archive of arrays: name it .npz")
    return array


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    damaged = (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*damaged, AttributeError, TypeError) as error:
        raise InputError(f"{path.name} is not a readable .npz archive: {error}") from error
    return _of_one_length({name: _decoded(array) for name, array in arrays.items()})


def _decoded(array: NDArray[Any]) -> NDArray[Any]:
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _of_one_length(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Keep the arrays with one entry per sample: as long as the matrices are, or as most are."""
    matrices = [len(array) for array in arrays.values() if array.ndim == 2]
    vectors = [len(array) for name, array in arrays.items() if array.ndim == 1]
    if not matrices and not vectors:
        return arrays
    n_rows = Counter(matrices or vectors).most_common(1)[0][0]
    return {
        name: array
        for name, array in arrays.items()
        if array.ndim >= 1 and len(array) == n_rows and name != FEATURE_NAMES
    }


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            f'{path.name}: reading .parquet needs pyarrow: pip install "icfl[tables]"'
        ) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path.name} is not a readable .parquet file: {error}") from error
    return {
        name: _from_arrow(column, name, path.name)
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _from_arrow(column: Any, name: str, source: str) -> NDArray[Any]:
    from pyarrow import types

    array = column.combine_chunks()
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _matrix_from_lists(array, name, source)
    if types.is_floating(kind) or types.is_integer(kind):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    if types.is_boolean(kind) and not array.null_count:
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.bool_)
    values = ["" if value is None else str(value) for value in array.to_pylist()]
    return np.array(values, dtype=np.str_)


def _matrix_from_lists(array: Any, name: str, source: str) -> NDArray[Any]:
    lengths = np.asarray([-1 if row is None else len(row) for row in array])
    if len(lengths) == 0 or np.any(lengths != lengths[0]) or lengths[0] < 1:
        raise InputError(f"{source}: the lists in column {name!r} are not all of one length")
    values = np.asarray(array.flatten().to_numpy(zero_copy_only=False))
    return values.reshape(len(lengths), -1)
