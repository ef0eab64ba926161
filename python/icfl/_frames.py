"""Results as pandas DataFrames; pandas is imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icfl.exceptions import MissingDependencyError

__all__ = ["data_frame", "frame_of_rows"]


def data_frame(columns: Mapping[str, Any], index: Any = None) -> Any:
    """Return columns of equal length as a DataFrame.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    """
    return _pandas().DataFrame(dict(columns), index=index)


def frame_of_rows(rows: Iterable[Any], columns: Sequence[str] | None = None) -> Any:
    """Return rows, tuples or mappings, as a DataFrame.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    """
    return _pandas().DataFrame(list(rows), columns=columns)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        message = 'results as a DataFrame need pandas: pip install "icfl[tables]"'
        raise MissingDependencyError(message) from error
    return pandas
