"""Learnt codes beside true ones: which latent stands for which feature, and where both fire.

Codes stay sparse. What is dense is (n_latents, n_features) where an assignment is solved, and
nothing has the number of samples times either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from icfl._validation import check_matrix
from icfl.exceptions import InputError
from icfl.metrics._inputs import require_finite, require_matrix_shape, row_blocks
from icfl.metrics._matching import Sign
from icfl.metrics.similarity import match_atoms, unit_rows

Match = Literal["cosine", "activation", "nearest"]
_Vector = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]

# Entries of codes looked at together: five float64 or int64 temporaries of 8 MiB.
_BLOCK_ENTRIES = 1 << 20
_COUNT_ROWS = 8192


class Truth(NamedTuple):
    """Codes and atoms that were checked; codes are positive, canonical CSR."""

    Z: Any
    atoms: npt.NDArray[Any]
    Z_true: Any
    atoms_true: npt.NDArray[Any]


class Entries(NamedTuple):
    """Where the latents of some pairs fire, ordered by pair and sample.

    Attributes
    ----------
    pairs : slice
        Which pairs.
    pair : ndarray of shape (n_entries,)
        Number of the pair among them.
    value : ndarray of shape (n_entries,), float64
        Code of the latent, above zero.
    true_value : ndarray of shape (n_entries,), float64
        Code of the feature, zero where it does not fire.
    """

    pairs: slice
    pair: _Indices
    value: _Vector
    true_value: _Vector


def check_truth(
    Z: Any,
    components: npt.ArrayLike,
    Z_true: Any,
    components_true: npt.ArrayLike,
    sign: Sign,
) -> Truth:
    """Return codes and atoms as the measures take them, or say what does not fit."""
    atoms = check_matrix(components, "components", minimum_rows=1)
    atoms_true = check_matrix(components_true, "components_true", minimum_rows=1)
    if atoms.shape[1] != atoms_true.shape[1]:
        widths = f"{atoms.shape[1]} and {atoms_true.shape[1]}"
        raise InputError(
            f"components and components_true must have the same n_features, got {widths}"
        )
    codes = _positive(Z, "Z", sign)
    truth = _positive(Z_true, "Z_true", "signed")
    if codes.shape[0] != truth.shape[0]:
        rows = f"{codes.shape[0]} and {truth.shape[0]}"
        raise InputError(f"Z and Z_true must have the same number of rows, got {rows}")
    for Y, name, D in ((codes, "Z", atoms), (truth, "Z_true", atoms_true)):
        if Y.shape[1] != len(D):
            raise InputError(
                f"{name} must have a column for each of {len(D)} atoms, got {Y.shape[1]}"
            )
    return Truth(codes, atoms, truth, atoms_true)


def _positive(Z: Any, name: str, sign: Sign) -> Any:
    """Return the positive codes, or the sizes of all, as CSR without zeros or repetitions."""
    shape = Z.shape if sparse.issparse(Z) else np.shape(Z)
    require_matrix_shape(shape, name)
    codes = sparse.csr_array(Z if sparse.issparse(Z) else check_matrix(Z, name))
    if codes.dtype.kind not in "biuf":
        raise InputError(f"{name} must hold real numbers, got {codes.dtype}")
    if not codes.has_canonical_format:
        codes = codes.copy()
        codes.sum_duplicates()
    require_finite(codes.data, name)
    if sign == "absolute":
        codes = abs(codes)
    elif (codes.data <= 0).any():
        codes = codes.multiply(codes > 0).tocsr()
    if (codes.data == 0).any():
        codes = codes.copy()
        codes.eliminate_zeros()
    codes.sort_indices()
    return codes


def match_latents(truth: Truth, match: Match, sign: Sign) -> tuple[_Indices, _Indices]:
    """Return pairs (latents, features), ordered by feature; by latent for "nearest"."""
    if match == "nearest":
        return np.arange(len(truth.atoms)), _nearest(truth, sign)
    if match == "cosine":
        indices, _ = match_atoms(truth.atoms, truth.atoms_true, sign=sign)
        features = np.flatnonzero(indices >= 0)
        return indices[features], features
    f1 = _overlaps(truth)
    n_latents, n_features = active_counts(truth.Z), active_counts(truth.Z_true)
    for rows in row_blocks(f1.shape):
        f1[rows] *= 2.0
        f1[rows] /= np.maximum(n_latents[rows, None] + n_features, 1)
    latents, features = linear_sum_assignment(f1, maximize=True)
    together = f1[latents, features] > 0
    latents, features = latents[together], features[together]
    order = np.argsort(features)
    return latents[order], features[order]


def pair_cosines(truth: Truth, latents: _Indices, features: _Indices, sign: Sign) -> _Vector:
    """Return the cosine of each latent's atom with its feature's, its size for "absolute"."""
    cosines = np.empty(len(latents))
    for pairs in row_blocks((max(1, len(latents)), truth.atoms.shape[1])):
        learnt = unit_rows(truth.atoms[latents[pairs]], "components")
        true = unit_rows(truth.atoms_true[features[pairs]], "components_true")
        cosines[pairs] = np.clip(np.einsum("ij,ij->i", learnt, true), -1.0, 1.0)
    return np.abs(cosines) if sign == "absolute" else cosines


def active_counts(codes: Any) -> npt.NDArray[np.intp]:
    """Return on how many samples each column is active."""
    return np.bincount(codes.indices, minlength=codes.shape[1])


def paired_entries(truth: Truth, latents: _Indices, features: _Indices) -> Iterator[Entries]:
    """Yield where latents fire, some pairs at a time, with what is true there."""
    learnt, true = truth.Z.tocsc(), truth.Z_true.tocsc()
    sizes = np.diff(learnt.indptr)[latents] + np.diff(true.indptr)[features]
    block = np.cumsum(sizes) // _BLOCK_ENTRIES
    starts = np.concatenate([np.flatnonzero(np.diff(block, prepend=-1)), [len(latents)]])
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        pair, row, value = _columns(learnt, latents[first:last])
        true_pair, true_row, true_values = _columns(true, features[first:last])
        n = learnt.shape[0]
        here, there = pair * n + row, true_pair * n + true_row
        true_value = np.zeros(len(here))
        if len(there):
            place = np.minimum(np.searchsorted(there, here), len(there) - 1)
            both = there[place] == here
            true_value[both] = true_values[place[both]]
        yield Entries(slice(first, last), pair, value, true_value)


def _columns(codes: Any, columns: _Indices) -> tuple[_Indices, _Indices, _Vector]:
    """Return (number of the column, row, value) of the entries of some columns, in order."""
    chosen = codes[:, columns]
    chosen.sort_indices()
    number = np.repeat(np.arange(len(columns)), np.diff(chosen.indptr))
    return number, chosen.indices.astype(np.intp), chosen.data.astype(np.float64)


def _nearest(truth: Truth, sign: Sign) -> _Indices:
    true = unit_rows(truth.atoms_true, "components_true").T
    found = np.empty(len(truth.atoms), dtype=np.intp)
    for rows in row_blocks((len(truth.atoms), true.shape[1]), 1 << 22):
        cosines = unit_rows(truth.atoms[rows], "components") @ true
        found[rows] = (np.abs(cosines) if sign == "absolute" else cosines).argmax(axis=1)
    return found


def _overlaps(truth: Truth) -> _Vector:
    """Return on how many samples each latent and feature are both active, dense float64."""
    together = np.zeros((truth.Z.shape[1], truth.Z_true.shape[1]))
    for start in range(0, truth.Z.shape[0], _COUNT_ROWS):
        rows = slice(start, start + _COUNT_ROWS)
        here = _pattern(truth.Z[rows]).T @ _pattern(truth.Z_true[rows])
        found = here.tocoo()
        together[found.row, found.col] += found.data
    return together


def _pattern(codes: Any) -> Any:
    ones = np.ones(len(codes.data))
    return sparse.csr_array((ones, codes.indices, codes.indptr), shape=codes.shape)
