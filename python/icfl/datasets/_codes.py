"""Values of planted features: normal, conditioned on being positive, by feature and by parent."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl._validation import check_number
from icfl.datasets._firing import Firing
from icfl.datasets._sparse_firing import SparseFiring
from icfl.exceptions import InputError

Coefficient: TypeAlias = float | npt.NDArray[np.float32]
"""One number for all features, or an array of shape (n_components,)."""


def check_coefficient(value: object, name: str, n_components: int, *, closed: bool) -> Coefficient:
    """Return `value` if it is a positive number (`closed`: or zero), or one for each feature."""
    if np.ndim(value) == 0:  # type: ignore[arg-type]
        return check_number(value, name, low=0.0, closed=closed)
    each = np.asarray(value, dtype=np.float32)
    if each.shape != (n_components,):
        raise InputError(f"{name} must have shape ({n_components},), got {each.shape}")
    smallest = float(each.min())
    if not np.isfinite(each).all() or smallest < 0 or (smallest == 0 and not closed):
        bound = "at least 0" if closed else "above 0"
        raise InputError(f"{name} must be finite and {bound}, got {smallest!r} as its smallest")
    return each


def draw_dense(
    firing: Firing, n_samples: int, mean: Coefficient, sd: Coefficient, rng: np.random.Generator
) -> sparse.csr_array:
    """Draw codes of features that fire by latent variables."""
    counts, columns = firing.draw(n_samples, rng)
    values = _positive_normal(_at(mean, columns), _at(sd, columns), len(columns), rng)
    return _rows_of(counts, columns, values, len(firing.frequency))


def draw_sparse(
    firing: SparseFiring,
    n_samples: int,
    mean: Coefficient,
    sd: Coefficient,
    rng: np.random.Generator,
    *,
    scale_by_parent: bool,
) -> sparse.csr_array:
    """Draw codes at a cost of what fires; children perhaps in proportion to their parents."""
    rows, columns, sources = firing.draw(n_samples, rng)
    values = _positive_normal(_at(mean, columns), _at(sd, columns), len(columns), rng)
    if scale_by_parent:
        relative = values / _at(mean, columns)
        # A parent comes before its children, so level by level it has its own value already.
        for level in _levels(sources):
            relative[level] *= relative[sources[level]]
        values = (relative * _at(mean, columns)).astype(np.float32)
    width = len(firing.frequency)
    order = np.argsort(rows * width + columns)
    counts = np.bincount(rows, minlength=n_samples)
    return _rows_of(counts, columns[order], values[order], width)


def _levels(sources: npt.NDArray[np.int64]) -> list[slice]:
    """Return where the children of each level stand, from the upper ones to the lower."""
    levels, start = [], int(np.searchsorted(sources, 0))
    while start < len(sources):
        # Sources rise from level to level: those of this one are before where it starts.
        stop = start + int(np.searchsorted(sources[start:], start))
        levels.append(slice(start, stop))
        start = stop
    return levels


def _rows_of(
    counts: npt.NDArray[np.intp],
    columns: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    width: int,
) -> sparse.csr_array:
    indptr = np.concatenate([[0], np.cumsum(counts)])
    # 32-bit indices wherever they suffice, as SciPy itself chooses.
    index_type = np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64
    parts = (values, columns.astype(index_type), indptr.astype(index_type))
    return sparse.csr_array(parts, shape=(len(counts), width))


def _at(value: Coefficient, columns: npt.NDArray[np.int64]) -> Coefficient:
    return value[columns] if isinstance(value, np.ndarray) else value


def _positive_normal(
    mean: Coefficient, sd: Coefficient, n: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw from N(mean, sd^2) conditioned on being positive, by drawing again what is not."""
    values = rng.standard_normal(n, dtype=np.float32) * np.float32(sd) + np.float32(mean)
    redo = np.flatnonzero(values <= 0)
    while len(redo):  # at most half of them each time, since mean > 0
        again = rng.standard_normal(len(redo), dtype=np.float32)
        values[redo] = again * _at(sd, redo) + _at(mean, redo)
        redo = redo[values[redo] <= 0]
    return values
