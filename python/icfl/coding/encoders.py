r"""Sparse codes with a given dictionary, as stateless calls.

Each call takes rows x of X (d numbers), atoms D (M rows of d numbers) and an optional bias b, and
returns sparse codes z such that x ≈ z D + b:

- `encode_topk`: the k largest positive entries of D (x − b), as in a TopK sparse autoencoder [1]_;
- `encode_icfl`: J rounds, each a least-squares fit of the residual on the L atoms that correlate
  best with it (Algorithm 1 of [2]_);
- `encode_mp`: matching pursuit [3]_, the same with L = 1;
- `encode_omp`: orthogonal matching pursuit [4]_, which refits all coefficients after every atom.

References
----------
.. [1] Gao et al., "Scaling and evaluating sparse autoencoders", arXiv:2406.04093, 2024.
.. [2] Donhauser et al., "Towards scientific discovery with dictionary learning: Extracting
   biological concepts from microscopy foundation models", ICML 2025, arXiv:2412.16247.
.. [3] Mallat and Zhang, "Matching pursuits with time-frequency dictionaries", IEEE Transactions on
   Signal Processing 41(12), 1993.
.. [4] Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993.
"""

from __future__ import annotations

from numbers import Number
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from icfl._validation import (
    check_atoms,
    check_count,
    check_matrix,
    check_n_jobs,
    check_vector,
    is_native,
    iter_chunks,
)
from icfl.coding.coders import (
    BlockPursuit,
    Coder,
    OrthogonalPursuit,
    OwnThresholds,
    Pursuit,
    TopK,
    compiled,
    gram_pays,
    input_error,
    join_codes,
)
from icfl.exceptions import InputError

__all__ = ["encode_icfl", "encode_mp", "encode_omp", "encode_topk"]


def encode_topk(
    X: ArrayLike,
    components: ArrayLike,
    n_nonzero: int,
    *,
    bias: ArrayLike | None = None,
    n_jobs: int | None = None,
) -> csr_array:
    """Keep the `n_nonzero` largest positive inner products of each row with the atoms.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to encode. float32 and float64 of any order or stride, memory maps included, are used
        where they lie; other types are converted block by block.
    components : array-like of shape (n_components, n_features)
        Dictionary, one atom a row; used as float32.
    n_nonzero : int
        Most non-zeros of a row. More than `n_components` means all of them.
    bias : array-like of shape (n_features,), optional
        Subtracted from every row first.
    n_jobs : int, optional
        Threads; None takes all cores. The result has the same bits for any number.

    Returns
    -------
    csr_array of shape (n_samples, n_components), float32
        Codes with sorted indices. Rows with fewer positive inner products have fewer non-zeros;
        ties go to the lower index.

    Raises
    ------
    InputError
        If shapes do not match, a value is NaN or infinite, or `n_nonzero` < 1.

    Examples
    --------
    >>> import icfl
    >>> icfl.encode_topk([[3.0, 1.0, -2.0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]], 2).toarray()
    array([[3., 1., 0.]], dtype=float32)
    """
    return _encode(X, components, TopK(n_nonzero), bias, n_jobs)


def encode_icfl(
    X: ArrayLike,
    components: ArrayLike,
    *,
    n_iterations: int = 20,
    atoms_per_iteration: int = 5,
    threshold: float | ArrayLike = 0.0,
    bias: ArrayLike | None = None,
    selection: str = "positive",
    n_jobs: int | None = None,
) -> csr_array:
    """Encode by iterative codebook feature learning: Algorithm 1 of the paper.

    With residual r = x − b, each of `n_iterations` rounds takes the `atoms_per_iteration` atoms
    with the largest inner product with r, fits r by least squares on these atoms alone, adds the
    coefficients to the code and subtracts the fit from r. An atom may return in a later round; its
    coefficients add up.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to encode. float32 and float64 of any order or stride, memory maps included, are used
        where they lie; other types are converted block by block.
    components : array-like of shape (n_components, n_features)
        Dictionary, one atom a row; used as float32.
    n_iterations : int, default=20
        Rounds, J in the paper.
    atoms_per_iteration : int, default=5
        Atoms of a round, L in the paper.
    threshold : float or array-like of shape (n_components,), default=0.0
        An atom joins only while its inner product with the residual exceeds it, so easy rows end
        with fewer non-zeros. With a threshold of 0 or more it must also exceed the float32 rounding
        of the residual, 8 eps ‖x − b‖ max‖D‖: rows that are explained to rounding take no more
        atoms. ``-inf`` is the published algorithm, always J rounds of L atoms. An array has one for
        each atom, all positive; atoms are then ranked by how many times their own threshold the
        inner product is.
    bias : array-like of shape (n_features,), optional
        Subtracted from every row first.
    selection : {"positive", "absolute"}, default="positive"
        Rank atoms by the signed inner product, as published, or by its absolute value.
    n_jobs : int, optional
        Threads; None takes all cores. The result has the same bits for any number.

    Returns
    -------
    csr_array of shape (n_samples, n_components), float32
        Codes with sorted indices, at most `n_iterations` × `atoms_per_iteration` non-zeros a row.
        Ties go to the lower index. Coefficients may be negative under either selection.

    Raises
    ------
    InputError
        If shapes do not match, a value is NaN or infinite, or an option is out of range.

    Notes
    -----
    The L × L system gets a ridge of 1e-6 times its largest diagonal entry, because nearly parallel
    atoms may be selected together. Where the Gram matrix of the dictionary is worth its cost and
    below ``ICFL_GRAM_BUDGET`` bytes (environment; default 1 GiB), it is built once per call.

    Examples
    --------
    >>> import icfl
    >>> D = [[1.0, 0.0], [0.6, 0.8]]
    >>> icfl.encode_icfl([[2.0, 0.0]], D, n_iterations=1, atoms_per_iteration=1).toarray().round(3)
    array([[2., 0.]], dtype=float32)
    """
    coder = BlockPursuit(n_iterations, atoms_per_iteration, _common(threshold), selection)
    return _encode(X, components, coder, bias, n_jobs, threshold)


def encode_mp(
    X: ArrayLike,
    components: ArrayLike,
    n_nonzero: int,
    *,
    threshold: float | ArrayLike = 0.0,
    bias: ArrayLike | None = None,
    selection: str = "absolute",
    n_jobs: int | None = None,
) -> csr_array:
    """Encode by matching pursuit: `n_nonzero` steps, each subtracting the best single atom.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to encode; see `encode_icfl`.
    components : array-like of shape (n_components, n_features)
        Dictionary, one atom a row; used as float32. Atoms need not have unit norm, but the atom
        of largest inner product is chosen, as in `encode_icfl`.
    n_nonzero : int
        Steps. An atom may be chosen again, so a row may have fewer non-zeros.
    threshold : float or array-like of shape (n_components,), default=0.0
        Smallest inner product (its absolute value under ``selection="absolute"``) that goes on;
        see `encode_icfl`.
    bias : array-like of shape (n_features,), optional
        Subtracted from every row first.
    selection : {"absolute", "positive"}, default="absolute"
        Rank atoms by absolute or by signed inner product.
    n_jobs : int, optional
        Threads; None takes all cores. The result has the same bits for any number.

    Returns
    -------
    csr_array of shape (n_samples, n_components), float32
        Codes with sorted indices.

    Raises
    ------
    InputError
        If shapes do not match, a value is NaN or infinite, or an option is out of range.

    Examples
    --------
    >>> import icfl
    >>> icfl.encode_mp([[2.0, -3.0]], [[1.0, 0.0], [0.0, 1.0]], 1).toarray().round(3)
    array([[ 0., -3.]], dtype=float32)
    """
    coder = BlockPursuit(check_count(n_nonzero, "n_nonzero"), 1, _common(threshold), selection)
    return _encode(X, components, coder, bias, n_jobs, threshold)


def encode_omp(
    X: ArrayLike,
    components: ArrayLike,
    n_nonzero: int,
    *,
    threshold: float | ArrayLike = 0.0,
    threshold_slope: float = 0.0,
    bias: ArrayLike | None = None,
    selection: str = "absolute",
    n_jobs: int | None = None,
) -> csr_array:
    """Encode by orthogonal matching pursuit: all coefficients are refitted after every atom.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows to encode; see `encode_icfl`.
    components : array-like of shape (n_components, n_features)
        Dictionary, one atom a row; used as float32. As in scikit-learn's ``orthogonal_mp`` atoms
        are ranked by plain inner product, so they should have comparable norms.
    n_nonzero : int
        Most non-zeros of a row. More than `n_components` means all of them.
    threshold : float or array-like of shape (n_components,), default=0.0
        Smallest inner product (its absolute value under ``selection="absolute"``) that goes on;
        see `encode_icfl`.
    threshold_slope : float, default=0.0
        Above 0, an atom stays only while its inner product with what the others leave of the row
        exceeds the threshold + threshold_slope · ‖residual‖²: the more of a row has no atom, the
        more evidence it takes. Of a row that has all its atoms the weakest goes, the others are
        refitted, and so on until all exceed it. With a threshold for each atom, what is added to
        each is in proportion to them, and threshold_slope belongs to the largest.
    bias : array-like of shape (n_features,), optional
        Subtracted from every row first.
    selection : {"absolute", "positive"}, default="absolute"
        Rank atoms by absolute or by signed inner product.
    n_jobs : int, optional
        Threads; None takes all cores. The result has the same bits for any number.

    Returns
    -------
    csr_array of shape (n_samples, n_components), float32
        Codes with sorted indices. A row ends early when the next atom is numerically dependent on
        those it has.

    Raises
    ------
    InputError
        If shapes do not match, a value is NaN or infinite, or an option is out of range.

    Examples
    --------
    >>> import icfl
    >>> icfl.encode_omp([[1.4, 0.8]], [[1.0, 0.0], [0.6, 0.8]], 2).toarray().round(3)
    array([[0.8, 1. ]], dtype=float32)

    Beside a residual of squared norm 4 an inner product of 1 does not exceed 0.5 + 0.2 · 4:

    >>> rows, atoms = [[1.0, 0.0, 0.0], [1.0, 0.0, 2.0]], [[1, 0, 0], [0, 1, 0]]
    >>> icfl.encode_omp(rows, atoms, 2, threshold=0.5, threshold_slope=0.2).toarray()
    array([[1., 0.],
           [0., 0.]], dtype=float32)
    """
    coder = OrthogonalPursuit(n_nonzero, _common(threshold), selection, threshold_slope)
    return _encode(X, components, coder, bias, n_jobs, threshold)


def _common(threshold: Any) -> Any:
    """Return a threshold that all atoms share; where they have their own, it does not matter."""
    return 0.0 if _is_array(threshold) else threshold


def _is_array(threshold: Any) -> bool:
    return not isinstance(threshold, Number | str | None)


def _encode(
    X: ArrayLike,
    components: ArrayLike,
    coder: Coder,
    bias: ArrayLike | None,
    n_jobs: int | None,
    threshold: Any = 0.0,
) -> csr_array:
    """Encode; `threshold` counts where it is an array, for a pursuit then."""
    rows, atoms = check_matrix(X, "X"), check_atoms(components)
    if _is_array(threshold):
        thresholds = check_vector(threshold, "threshold", len(atoms))
        coder = OwnThresholds.of(cast(Pursuit, coder), cast(NDArray[np.float32], thresholds))
    offset = check_vector(bias, "bias", atoms.shape[1])
    try:
        dictionary = compiled(coder, atoms)
    except ValueError as error:
        raise InputError(str(error)) from error
    if rows.shape[1] != dictionary.n_features:
        raise InputError(
            f"X has {rows.shape[1]} features, but components has {dictionary.n_features}"
        )
    threads = check_n_jobs(n_jobs)
    use_gram = gram_pays(dictionary.n_components, len(rows), coder.rounds)
    parts = []
    for place, chunk in iter_chunks(rows, max(1, len(rows)) if is_native(rows) else None):
        try:
            parts.append(coder.encode(dictionary, chunk, offset, use_gram=use_gram, n_jobs=threads))
        except ValueError as error:
            raise input_error(error, place.start) from error
    return join_codes(parts, dictionary.n_components)
