"""Tables for people: the one place outside `icfl.io` that makes pandas DataFrames of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icfl.exceptions import MissingDependencyError

__all__ = ["data_frame"]


def data_frame(
    rows: Mapping[str, Any] | Iterable[Any], columns: Sequence[str] | None = None
) -> Any:
    """Return a pandas DataFrame of columns by name, or of rows.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError(
            "results as a DataFrame need pandas: pip install 'icfl[tables]'"
        ) from error
    return pd.DataFrame(rows if isinstance(rows, Mapping) else list(rows), columns=columns)
