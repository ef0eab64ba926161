"""A table of labels: named one-dimensional columns of one length.

NumPy arrays in a mapping are all that fitting and evaluation need of a metadata table, so pandas is
not needed to hold one.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import InputError

__all__ = ["Column", "Table", "listing", "suggestion"]

Column: TypeAlias = NDArray[Any]

TRUE_WORDS = frozenset({"1", "true", "yes"})
FALSE_WORDS = frozenset({"0", "false", "no"})


class Table(Mapping[str, Column]):
    """Named one-dimensional arrays of the same length.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n_rows,)
        The columns, in order.
    source : str, default="metadata"
        What error messages call the table; usually the file's name.
    n_rows : int, optional
        Number of rows of a table without columns.

    Raises
    ------
    InputError
        If the columns are not one-dimensional or differ in length.

    Examples
    --------
    >>> import numpy as np
    >>> table = Table({"plate": np.array(["a", "a", "b"]), "dose": np.array([0, 1, 1])})
    >>> table.n_rows, list(table)
    (3, ['plate', 'dose'])
    >>> table.matches("dose", "1")
    array([False,  True,  True])
    """

    def __init__(
        self, columns: Mapping[str, Column], *, source: str = "metadata", n_rows: int | None = None
    ) -> None:
        self._columns = dict(columns)
        self.source = source
        for name, column in self._columns.items():
            if column.ndim != 1:
                raise InputError(
                    f"{source}: column {name!r} has shape {column.shape}, expected one dimension"
                )
            n_rows = len(column) if n_rows is None else n_rows
            if len(column) != n_rows:
                raise InputError(
                    f"{source}: column {name!r} has {len(column)} rows, expected {n_rows}"
                )
        self.n_rows = n_rows or 0

    def __getitem__(self, name: str) -> Column:
        """Return the column `name`; an unknown name is an InputError that lists the known ones."""
        try:
            return self._columns[name]
        except KeyError:
            known = f"it has {listing(self._columns)}" if self._columns else "it holds no metadata"
            raise InputError(
                f"{self.source} has no column {name!r}{suggestion(name, self._columns)}; {known}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Table({self.n_rows} rows: {', '.join(self)})"

    def joined(self, other: Table) -> Table:
        """Return the columns of both tables; those of `other` win where names are shared."""
        if len(self) and other.n_rows != self.n_rows:
            raise InputError(
                f"{other.source} has {other.n_rows} rows, {self.source} has {self.n_rows}"
            )
        return Table({**self, **other}, source=other.source, n_rows=other.n_rows)

    def matches(self, name: str, text: str) -> NDArray[np.bool_]:
        """Return which rows of column `name` hold the value written as `text`.

        Text is compared with text, numbers with the number, booleans with true/false, yes/no, 1/0.

        Parameters
        ----------
        name : str
            A column.
        text : str
            The value, as one would type it.

        Returns
        -------
        ndarray of shape (n_rows,), bool
            Where the column holds the value; true at least once.

        Raises
        ------
        InputError
            If the column is unknown, `text` is no such value, or no row matches.
        """
        column = self[name]
        mask = np.asarray(column == _parsed(text, column, name, self.source), dtype=np.bool_)
        if not mask.any():
            values = [str(value) for value in np.unique(column)]
            raise InputError(
                f"no row of {self.source} has {name} = {text!r}{suggestion(text, values)}; "
                f"values are {listing(values)}"
            )
        return mask


def suggestion(word: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return " (did you mean …?)" if one of `known` is close to `word`, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _parsed(text: str, column: Column, name: str, source: str) -> Any:
    if column.dtype.kind == "b":
        word = text.lower()
        if word not in TRUE_WORDS | FALSE_WORDS:
            raise InputError(f"column {name!r} of {source} is true or false, got {text!r}")
        return word in TRUE_WORDS
    if column.dtype.kind in "iuf":
        try:
            return float(text)
        except ValueError:
            raise InputError(f"column {name!r} of {source} holds numbers, got {text!r}") from None
    return text


def listing(names: Mapping[str, Any] | list[str], limit: int = 8) -> str:
    """Return the first few names for an error message, and how many more there are."""
    shown = [str(name) for name in list(names)[:limit]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
