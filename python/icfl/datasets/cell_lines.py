"""Wells of a Cell Painting screen, shipped with the package (CC0-1.0, 0.7 MB)."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from icfl.exceptions import MissingDependencyError


def load_cell_lines(*, as_frame: bool = False) -> Bunch:
    """Load 1,298 wells of a Cell Painting screen: 14 cell types on six plates.

    CellProfiler features, standardised per plate by the source. The 174 U2-OS anchor wells, on
    every plate, serve as controls. A line keeps the same rows on its plates, and each plate is one
    time point: hold out by plate (`labels.plate`) whenever something is to be shown to generalise.

    Parameters
    ----------
    as_frame : bool, default=False
        Give `data` and `labels` as pandas DataFrames instead of arrays.

    Returns
    -------
    sklearn.utils.Bunch
        - ``data``: ndarray of shape (1298, 139), float32
        - ``feature_names``: ndarray of shape (139,), str
        - ``control``: ndarray of shape (1298,), bool
        - ``labels``: Bunch of ndarrays of shape (1298,): ``cell_type`` (14 values), ``cell_line``
          (17), ``perturbation`` ("none", "1020", and "EV", its empty-vector control), ``plate``
          (6), ``batch`` (2 plate-map layouts), ``well``, ``time_point`` (hours),
          ``seeding_density`` (cells per well), ``condition``, ``is_genetic_control``
        - ``meta``: dict with source, commit, licence and definitions
        - ``DESCR``: str, the full description

    Raises
    ------
    MissingDependencyError
        If `as_frame` is true and pandas is not installed.

    References
    ----------
    https://github.com/WayScience/pediatric_cancer_atlas_profiling, commit c2a042b3, round 4;
    CC0-1.0.

    Examples
    --------
    >>> from icfl.datasets import load_cell_lines
    >>> screen = load_cell_lines()
    >>> screen.data.shape, int(screen.control.sum()), len(set(screen.labels.cell_type))
    ((1298, 139), 174, 14)
    """
    folder = resources.files("icfl.datasets") / "data"
    with (folder / "cell_lines.npz").open("rb") as file, np.load(file, allow_pickle=False) as npz:
        arrays = {name: npz[name] for name in npz.files}
    labels = {name[2:]: column for name, column in arrays.items() if name.startswith("y_")}
    data, names = arrays["X"], arrays["feature_names"]
    return Bunch(
        data=_frame(data, names) if as_frame else data,
        feature_names=names,
        control=arrays["is_control"],
        labels=_frame(labels) if as_frame else Bunch(**labels),
        meta=json.loads(str(arrays["meta_json"])),
        DESCR=(folder / "README.md").read_text(encoding="utf-8"),
    )


def _frame(data: Any, columns: Any = None) -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        message = 'as_frame=True needs pandas: pip install "icfl[tables]"'
        raise MissingDependencyError(message) from error
    return pd.DataFrame(data, columns=columns)
