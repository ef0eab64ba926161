"""Where the learning of a dictionary starts: atoms (M, d) and bias (d,).

- "random": directions drawn uniformly from the unit sphere;
- "linear": uniform in ±1/√M, PyTorch's default for the linear layer M → d that the paper's decoder
  is, bias included. Atoms then have a norm near √(d / 3M), 0.20 for d = 1,024 and M = 8,192;
- "data": distinct rows minus their mean, scaled to unit norm; too few rows are filled up with
  random directions;
- an array: that array.

Except for "linear" the bias starts at the mean of the rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl._validation import check_matrix
from icfl.exceptions import InputError

__all__ = ["INITS", "initial_dictionary"]

INITS = ("auto", "random", "linear", "data")
AUTO = "data"

Take = Callable[[NDArray[np.intp]], NDArray[np.float32]]


def initial_dictionary(
    init: str | ArrayLike,
    n_components: int,
    mean: NDArray[np.float32],
    n_rows: int,
    take: Take,
    *,
    unit_norm: bool,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the first atoms and bias.

    Parameters
    ----------
    init : {"auto", "random", "linear", "data"} or array-like of shape (n_components, n_features)
        Where to start.
    n_components : int
        Number of atoms M.
    mean : ndarray of shape (n_features,), float32
        Mean of the prepared rows.
    n_rows : int
        Number of rows that `take` can give.
    take : callable
        Gives the prepared rows at increasing indices.
    unit_norm : bool
        Whether atoms have unit norm. Zero rows of an array are then drawn at random.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    components : ndarray of shape (n_components, n_features), float32
    bias : ndarray of shape (n_features,), float32
    """
    shape = (n_components, len(mean))
    bias = mean
    if not isinstance(init, str):
        atoms = _given(init, shape)
    elif init == "random":
        atoms = _directions(shape, rng)
    elif init == "linear":
        bound = n_components**-0.5
        atoms = rng.uniform(-bound, bound, shape)
        bias = rng.uniform(-bound, bound, len(mean)).astype(np.float32)
    else:
        atoms = _from_rows(shape, mean, n_rows, take, rng)
    if unit_norm:
        atoms = _normalised(atoms, rng)
    return np.ascontiguousarray(atoms, dtype=np.float32), bias


def _given(init: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    atoms = check_matrix(init, "init").astype(np.float64)
    if atoms.shape != shape:
        raise InputError(
            f"init must have shape (n_components, n_features) = {shape}, got {atoms.shape}"
        )
    if not np.isfinite(atoms).all():
        raise InputError("init contains NaN or infinity")
    return atoms


def _directions(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw uniformly from the unit sphere: a normal sample of norm zero has probability zero."""
    atoms = rng.standard_normal(shape)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms


def _normalised(atoms: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    empty = norms[:, 0] == 0
    atoms = np.divide(atoms, norms, out=np.zeros_like(atoms), where=norms > 0)
    atoms[empty] = _directions((int(empty.sum()), atoms.shape[1]), rng)
    return atoms


def _from_rows(
    shape: tuple[int, int],
    mean: NDArray[np.float32],
    n_rows: int,
    take: Take,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    # Twice as many as needed: some may be equal to each other or to the mean.
    drawn = rng.choice(n_rows, size=min(n_rows, 2 * shape[0]), replace=False)
    increasing = np.sort(drawn)
    rows = take(increasing)[np.searchsorted(increasing, drawn)].astype(np.float64) - mean
    norms = np.linalg.norm(rows, axis=1)
    # Rounding of the mean leaves some 1e-7 of a row that equals it.
    usable = norms > 1e-6 * (np.linalg.norm(mean) + norms.max(initial=0.0))
    rows = rows[usable] / norms[usable, None]
    _, first = np.unique(rows.astype(np.float32), axis=0, return_index=True)
    rows = rows[np.sort(first)][: shape[0]]
    return np.vstack([rows, _directions((shape[0] - len(rows), shape[1]), rng)])
