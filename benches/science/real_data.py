"""The real data of the tables: wells that ship with the package, and tokens of a vision model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl.datasets import load_cell_lines

N_TOKENS = 24_000
N_FOLDS_OF_IMAGES = 5


class RealData(NamedTuple):
    """Rows with what is known of them.

    Attributes
    ----------
    name : str
    X : ndarray of shape (n_samples, n_features), float32
    label : ndarray of shape (n_samples,)
        What features may stand for.
    groupings : mapping of str to ndarray of shape (n_samples,)
        What can be held out, the usual one first.
    control : ndarray of shape (n_samples,), bool
    """

    name: str
    X: NDArray[np.float32]
    label: NDArray[Any]
    groupings: Mapping[str, NDArray[Any]]
    control: NDArray[np.bool_]

    @property
    def groups(self) -> NDArray[Any]:
        """The usual grouping."""
        return next(iter(self.groupings.values()))

    def every(self, step: int) -> RealData:
        """Return every so many rows."""
        groupings = {name: groups[::step] for name, groups in self.groupings.items()}
        X, label, control = self.X[::step], self.label[::step], self.control[::step]
        return RealData(self.name, X, label, groupings, control)


def wells() -> RealData:
    """Return the wells: a label for the cell type; plates, plate maps and time points."""
    screen = load_cell_lines()
    names = {"plate": "plate", "plate map": "batch", "time point": "time_point"}
    groupings = {name: np.asarray(screen.labels[key]) for name, key in names.items()}
    return RealData("wells", screen.data, screen.labels.cell_type, groupings, screen.control)


def tokens(path: str | Path, n_tokens: int = N_TOKENS) -> RealData:
    """Return some tokens, drawn with a fixed seed, in five groups of images.

    Parameters
    ----------
    path : path-like
        An .npz with ``X`` of shape (n_images, n_tokens, n_features) and ``y_token_class`` of shape
        (n_images, n_tokens), where class 0 is background, which serves as control.
    n_tokens : int
        How many to take.
    """
    with np.load(path, allow_pickle=False) as file:
        X, label = file["X"], file["y_token_class"]
    n_images, per_image, width = X.shape
    chosen = np.random.default_rng(0).permutation(n_images * per_image)[:n_tokens]
    chosen.sort()
    image, label = chosen // per_image, label.reshape(-1)[chosen]
    rows = X.reshape(-1, width)[chosen].astype(np.float32)
    return RealData("tokens", rows, label, {"images": image % N_FOLDS_OF_IMAGES}, label == 0)


def chosen_data(path: str | None, *, tiny: bool) -> list[RealData]:
    """Return the wells, and the tokens if it is said where they are; if `tiny`, some of each."""
    found = [wells()] + ([tokens(path, 2_000 if tiny else N_TOKENS)] if path else [])
    return [data.every(2) for data in found] if tiny else found
