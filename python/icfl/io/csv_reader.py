"""Columns of a delimited text file, with the type each column has throughout.

Own code on the standard library's `csv`, so that it works with the core install and reads the same
everywhere: `numpy.loadtxt` knows no text columns and stops at the first blank cell, which profiling
tables have. Rows are converted in blocks, so the text of the whole file is never held.

A column is numeric if every cell is blank (NaN) or a number, boolean if every cell is true or
false, and text otherwise. `007` and `2_1` are text: they name plates and wells.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import InputError

__all__ = ["read_csv"]

BLOCK_ROWS = 4096
NOT_A_NUMBER = re.compile(r"_|(?:^|\n)[+-]?0\d")
BOOLEANS = {"true": True, "false": False}


class _TextColumnError(Exception):
    """A column that began as numbers holds text further down."""


def read_csv(path: Path) -> dict[str, NDArray[Any]]:
    """Read every column of a `.csv` or `.tsv` file, optionally compressed with gzip.

    Parameters
    ----------
    path : pathlib.Path
        UTF-8 text whose first line names the columns; the delimiter is a tab for `.tsv`.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_rows,)
        float64, int64, bool or str arrays, in the order of the file.

    Raises
    ------
    InputError
        If the file is not such a table; the message names the line.
    """
    text_columns: set[int] = set()
    while True:
        try:
            return _read(path, text_columns)
        except _TextColumnError as found:
            text_columns.add(found.args[0])
        except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise InputError(f"{path.name} is not a readable table: {error}") from error


def _read(path: Path, text_columns: set[int]) -> dict[str, NDArray[Any]]:
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    with _opened(path) as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        header = _header(next(rows, []), path.name)
        parts: list[list[NDArray[Any]]] = [[] for _ in header]
        for block in _blocks(rows, len(header), path.name):
            for index, cells in enumerate(zip(*block, strict=True)):
                parts[index].append(_converted(cells, index, text_columns, first=not parts[index]))
    if not parts[0]:
        raise InputError(f"{path.name} has column names but no rows")
    return {name: _joined(part) for name, part in zip(header, parts, strict=True)}


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _header(names: list[str], source: str) -> list[str]:
    names = [name.strip() for name in names]
    if not names:
        raise InputError(f"{source} is empty")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source} has two columns named {twice!r}")
    if len(names) > 1 and all(_is_number(name) for name in names):
        raise InputError(f"{source} begins with numbers, expected a first line of column names")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _blocks(rows: Any, width: int, source: str) -> Iterator[list[list[str]]]:
    """Yield blocks of rows, all of `width` cells; blank lines are passed over."""
    while block := list(itertools.islice(rows, BLOCK_ROWS)):
        for offset, row in enumerate(block):
            if row and len(row) != width:
                line = rows.line_num - len(block) + offset + 1
                raise InputError(
                    f"{source} line {line} has {len(row)} cells, the first line has {width}"
                )
        if full := [row for row in block if row]:
            yield full


def _converted(
    cells: tuple[str, ...], index: int, text_columns: set[int], *, first: bool
) -> NDArray[Any]:
    """Return one block of one column as numbers, or as text where the column is known as text."""
    stripped = [cell.strip() for cell in cells]
    if index not in text_columns:
        numbers = _numbers(stripped)
        if numbers is not None:
            return numbers
        if not first:
            raise _TextColumnError(index)
        text_columns.add(index)
    return np.array(stripped, dtype=np.str_)


def _numbers(cells: list[str]) -> NDArray[np.float64] | None:
    if NOT_A_NUMBER.search("\n".join(cells)):
        return None
    try:
        return np.array([cell or "nan" for cell in cells], dtype=np.float64)
    except ValueError:
        return None


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    column = np.concatenate(parts)
    if column.dtype.kind == "U":
        lowered = np.char.lower(column)
        is_boolean = np.isin(lowered, list(BOOLEANS)).all()
        return lowered == "true" if is_boolean else column
    # 2**53: beyond it float64 has gaps between integers.
    if np.all(np.isfinite(column)) and np.all(column == np.rint(column)):
        return column.astype(np.int64) if np.abs(column).max() < 2**53 else column
    return column
