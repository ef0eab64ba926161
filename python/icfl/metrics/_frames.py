"""Results as pandas tables, for those who have pandas."""

from __future__ import annotations

from typing import Any

from icfl.exceptions import MissingDependencyError


def data_frame(**columns: Any) -> Any:
    """Return a pandas DataFrame of the given columns.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        message = 'to_frame needs pandas: pip install "icfl[tables]"'
        raise MissingDependencyError(message) from error
    return pd.DataFrame(columns)
