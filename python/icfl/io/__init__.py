"""Activations and tables of labels from files: `.npy`, `.npz`, `.csv`, `.tsv`, `.parquet`.

A file of activations may carry its own labels (columns of a table, one-dimensional arrays of an
`.npz`); a separate metadata table may bring more. Nothing is ever unpickled.

`open_activations` is the one way in; `write_beside` and `new_folder` are the one way out: what a
reader finds under a final name is always whole.
"""

from __future__ import annotations

from icfl.io.activations import Activations, open_activations, read_metadata
from icfl.io.files import new_folder, write_beside
from icfl.io.table import Table

__all__ = [
    "Activations",
    "Table",
    "new_folder",
    "open_activations",
    "read_metadata",
    "write_beside",
]
