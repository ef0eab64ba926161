"""Result tables as pandas DataFrames; pandas is imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icfl.exceptions import MissingDependencyError

__all__ = ["data_frame"]


def data_frame(columns: Mapping[str, Any], index: Any = None) -> Any:
    """Return a pandas DataFrame with these columns.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        message = 'to_frame() needs pandas: pip install "icfl[tables]"'
        raise MissingDependencyError(message) from error
    return pd.DataFrame(dict(columns), index=index)
