"""Results as data frames of pandas, which is imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icfl.exceptions import MissingDependencyError


def frame_of(columns: Mapping[str, Any]) -> Any:
    """Return columns of equal length as a pandas DataFrame."""
    try:
        import pandas as pd
    except ImportError as error:
        message = 'to_frame() needs pandas: pip install "icfl[tables]"'
        raise MissingDependencyError(message) from error
    return pd.DataFrame(dict(columns))
