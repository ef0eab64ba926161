"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from icfl.cli.console import Console
from icfl.exceptions import InputError
from icfl.io import Activations, Table, open_activations, read_metadata

__all__ = [
    "add_data_options",
    "count",
    "count_or_auto",
    "load_data",
    "names",
    "nonnegative",
    "nonzero",
    "selected_rows",
    "share_or_ledoit_wolf",
    "threshold_or_auto",
]


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the activations, their metadata and how to read them."""
    data = parser.add_argument_group("data")
    data.add_argument("activations", metavar="X", help=".npy, .npz, .csv, .tsv or .parquet file")
    data.add_argument(
        "--metadata",
        metavar="FILE",
        help="table of labels, one row per sample (.csv, .tsv, .npz or .parquet); "
        "default: what X holds beside its features",
    )
    data.add_argument(
        "--features",
        type=names,
        metavar="A*,B*",
        help="columns of a table X that are features (default: all numeric columns that are not "
        "used as labels and do not begin with Metadata_)",
    )
    data.add_argument(
        "--array", metavar="NAME", help="array of an .npz or list column of a .parquet to take as X"
    )
    data.add_argument("--batch", metavar="COLUMN", help="column of batch labels, such as plates")


def load_data(
    options: argparse.Namespace, console: Console, labels: list[str]
) -> tuple[Activations, Table]:
    """Open the activations and the metadata the options name.

    Parameters
    ----------
    options : argparse.Namespace
        With what `add_data_options` adds.
    console : Console
        For a note on what was read.
    labels : list of str
        Columns that are used as labels, so that they are not taken for features.

    Returns
    -------
    activations : Activations
    metadata : Table
        The columns of the activations' file and of the metadata file.
    """
    activations = open_activations(
        options.activations, array=options.array, features=options.features, not_features=labels
    )
    metadata = activations.metadata
    if options.metadata is not None:
        table = read_metadata(options.metadata)
        if table.n_rows != len(activations):
            raise InputError(
                f"{table.source} has {table.n_rows} rows, "
                f"{activations.source} has {len(activations)}"
            )
        metadata = metadata.joined(table)
    rows, columns = activations.shape
    named = activations.feature_names
    console.note(
        f"{activations.source}: {rows:,} samples x {columns:,} features"
        + (f", columns {named[0]!r} to {named[-1]!r}" if named else "")
    )
    return activations, metadata


def selected_rows(metadata: Table, expressions: list[str]) -> NDArray[np.bool_]:
    """Return the rows that any of the expressions names: `column=value`, or `column` if boolean."""
    mask = np.zeros(metadata.n_rows, dtype=np.bool_)
    for expression in expressions:
        column, equals, value = expression.partition("=")
        mask |= metadata.matches(column, value if equals else "true")
    return mask


def names(text: str) -> list[str]:
    """Return the names in a list separated by commas."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("expected names separated by commas")
    return found


def count(text: str) -> int:
    """Return a whole number of at least 1."""
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return value


def nonzero(text: str) -> int:
    """Return a whole number that is not 0."""
    value = _whole(text)
    if value == 0:
        raise argparse.ArgumentTypeError("expected a whole number other than 0")
    return value


def count_or_auto(text: str) -> int | Literal["auto"]:
    """Return a whole number of at least 1, or "auto"."""
    return "auto" if text == "auto" else count(text)


def threshold_or_auto(text: str) -> float | Literal["auto"]:
    """Return a number, or "auto"; minus infinity is a number too, it lets every atom join."""
    if text == "auto":
        return "auto"
    value = _float(text)
    if not value < float("inf"):  # neither NaN nor infinity
        raise argparse.ArgumentTypeError(f"expected auto or a number, got {text!r}")
    return value


def nonnegative(text: str) -> int:
    """Return a whole number of at least 0."""
    value = _whole(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return value


def share_or_ledoit_wolf(text: str) -> float | str:
    """Return a number from 0 to 1, or "ledoit-wolf"."""
    if text == "ledoit-wolf":
        return text
    value = _float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"expected ledoit-wolf or a number from 0 to 1, got {text!r}"
        )
    return value


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
