"""Two halves of the samples that share no group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from icfl.exceptions import InputError
from icfl.metrics._labels import encode_labels

__all__ = ["split_halves"]

Rows = npt.NDArray[np.intp]


def split_halves(
    n_samples: int, groups: npt.ArrayLike | None, rng: np.random.Generator
) -> tuple[Rows, Rows]:
    """Return two disjoint sets of rows, in order, of about the same size.

    Parameters
    ----------
    n_samples : int
    groups : array-like of shape (n_samples,) or None
        What the halves must not share.
    rng : numpy.random.Generator
        Of which rows, or groups of the same size, go where.

    Raises
    ------
    InputError
        If there are fewer than two rows or groups, or a row has no group.
    """
    if n_samples < 2:
        raise InputError(f"X must have at least two rows to be halved, got {n_samples}")
    if groups is None:
        order = rng.permutation(n_samples)
        middle = n_samples // 2
        return np.sort(order[:middle]), np.sort(order[middle:])
    ids, names = encode_labels(groups, n_samples, "groups")
    if (ids < 0).any():
        raise InputError(f"groups must be known for every row, {np.sum(ids < 0)} are missing")
    if len(names) < 2:
        raise InputError(f"groups must have at least two values, got {names.tolist()}")
    second = np.isin(ids, list(_lighter_half(np.bincount(ids), rng)))
    return np.flatnonzero(~second), np.flatnonzero(second)


def _lighter_half(sizes: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    """Yield the groups of the second half: the largest first, each goes to the smaller half."""
    order = rng.permutation(len(sizes))
    totals = [0, 0]
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        half = int(totals[1] < totals[0])
        totals[half] += int(sizes[group])
        if half:
            yield int(group)
