"""The face that everything with a dictionary shares: rows to codes, codes to rows, and a score.

All work goes block by block: data may be a memory map larger than memory, and neither the scores
(n, M) nor a converted copy of the data ever exists.

Rows are *prepared* before they are encoded: converted to float32 and, if the estimator says so,
scaled to unit norm. `transform`, `inverse_transform` and `score` speak of prepared rows;
`reconstruct` goes back to the scale of its input.
"""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from icfl import _core
from icfl._validation import (
    CHUNK_ROWS,
    Floats,
    check_flag,
    check_matrix,
    check_n_jobs,
    estimator_rows,
    iter_chunks,
)
from icfl.coding.coders import (
    Coder,
    Codes,
    cached_dictionary,
    codes_of,
    gram_fits,
    input_error,
    join_codes,
)
from icfl.exceptions import InputError, InputScaleWarning
from icfl.hub.pretrained import Pretrained
from icfl.metrics.reconstruction import ReconstructionStats

__all__ = ["DictionaryModel", "Prepared", "prepare", "prepared_blocks", "seen_by"]

SCALE_TOLERANCE = 4.0
"""Mean row norms that differ by more than this factor from those of the fit raise a warning."""


class Prepared(NamedTuple):
    """A block of rows as the encoder takes them."""

    place: slice
    rows: NDArray[np.float32]
    norms: NDArray[np.float32]


class DictionaryModel(Pretrained, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of `ICFL` and `SparseCoder`: everything that needs a dictionary but does not learn it.

    A subclass has the parameters `sparse_output` and `n_jobs` and says which coder it uses
    (`_coder`), where its dictionary is (`_atoms_and_bias`) and whether rows are scaled
    (`_unit_norm`).
    """

    sparse_output: bool
    n_jobs: int | None

    @abstractmethod
    def _coder(self) -> Coder:
        """Return the coder that the parameters describe, after checking them."""

    @abstractmethod
    def _atoms_and_bias(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the dictionary (M, d) and the bias (d,); the same objects until they change."""

    @abstractmethod
    def _unit_norm(self) -> bool:
        """Return whether rows are scaled to unit norm before they are encoded."""

    def _scale(self) -> float:
        """Return what prepared rows are multiplied by."""
        return 1.0

    def _compiled(self, atoms: NDArray[np.float32]) -> _core.Dictionary:
        """Return what the coder encodes with; the same object until the dictionary changes."""
        return cached_dictionary(self, atoms)

    def _elsewhere(self, X: object) -> Any:
        """Return what has this class's methods for `X` on another backend; None: this does."""
        return None

    def transform(self, X: ArrayLike) -> csr_array | NDArray[np.float32]:
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to encode, in the scale of those the model was fitted on. Memory maps are read
            block by block.

        Returns
        -------
        csr_array or ndarray of shape (n_samples, n_components), float32
            Codes: CSR with sorted indices, or dense if ``sparse_output=False``.

        Raises
        ------
        InputError
            If `X` has another width than the dictionary or a value that is not finite.
        """
        elsewhere = self._elsewhere(X)
        if elsewhere is not None:
            return elsewhere.transform(X)
        sparse = check_flag(self.sparse_output, "sparse_output")
        atoms, _ = self._atoms_and_bias()
        X = self._rows(X)
        if sparse:
            return join_codes([codes for _, codes in self._encode_blocks(X)], len(atoms))
        dense = np.zeros((len(X), len(atoms)), dtype=np.float32)
        for block, codes in self._encode_blocks(X):
            join_codes([codes], len(atoms)).toarray(out=dense[block.place])
        return dense

    def inverse_transform(self, Z: ArrayLike) -> NDArray[np.float32]:
        """Return the rows that codes stand for: Z · components_ + bias_.

        Parameters
        ----------
        Z : sparse array or array-like of shape (n_samples, n_components)
            Codes.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Rows as the dictionary sees them, that is of unit norm where the model scales its
            inputs; `reconstruct` returns to the original scale.

        Raises
        ------
        InputError
            If `Z` has another width than the dictionary or a value that is not finite.
        """
        elsewhere = self._elsewhere(Z)
        if elsewhere is not None:
            decoded: NDArray[np.float32] = elsewhere.inverse_transform(Z)
            return decoded
        atoms, bias = self._atoms_and_bias()
        threads = check_n_jobs(self.n_jobs)
        codes = csr_array(Z) if issparse(Z) else check_matrix(Z, "Z")
        if codes.shape[1] != len(atoms):
            raise InputError(f"Z has {codes.shape[1]} components, the dictionary has {len(atoms)}")
        rows = np.empty((codes.shape[0], atoms.shape[1]), dtype=np.float32)
        for start in range(0, codes.shape[0], CHUNK_ROWS):
            place = slice(start, start + CHUNK_ROWS)
            block = codes_of(csr_array(codes[place]))
            if not np.isfinite(block[2]).all():
                raise InputError("Z contains NaN or infinity")
            rows[place] = _core.decode(block, atoms, bias, threads)
        return rows

    def reconstruct(self, X: ArrayLike) -> NDArray[np.float32]:
        """Encode rows and decode them again, in the scale of `X`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        ndarray of shape (n_samples, n_features), float32
            Their reconstruction.

        Raises
        ------
        InputError
            If `X` has another width than the dictionary or a value that is not finite.
        """
        elsewhere = self._elsewhere(X)
        if elsewhere is not None:
            again: NDArray[np.float32] = elsewhere.reconstruct(X)
            return again
        atoms, _ = self._atoms_and_bias()
        X = self._rows(X)
        Xhat = np.empty((len(X), atoms.shape[1]), dtype=np.float32)
        for block, codes in self._encode_blocks(X):
            decoded = self._decode(codes)
            if self._unit_norm():
                decoded *= block.norms[:, None]
            Xhat[block.place] = decoded if self._scale() == 1.0 else decoded / self._scale()
        return Xhat

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Return the explained variance of the rows as the dictionary sees them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : ignored
            Present for scikit-learn's interface.

        Returns
        -------
        float
            1 − Σ‖x − x̂‖² / Σ‖x − x̄‖² over prepared rows x (unit norm where the model scales its
            inputs), their reconstructions x̂ and their mean x̄. 1 is perfect, the mean scores 0;
            NaN if all rows are equal.

        Raises
        ------
        InputError
            If `X` has another width than the dictionary or a value that is not finite.
        """
        elsewhere = self._elsewhere(X)
        if elsewhere is not None:
            return float(elsewhere.score(X))
        stats = ReconstructionStats()
        for block, codes in self._encode_blocks(self._rows(X)):
            stats.update(block.rows, self._decode(codes))
        return stats.explained_variance

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file that `icfl.load` reads.

        Parameters
        ----------
        path : str or os.PathLike
            Name of the file; it is replaced whole or not at all.
        """
        from icfl.persistence import save

        save(self, path)

    @property
    def _n_features_out(self) -> int:
        return len(self._atoms_and_bias()[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _rows(self, X: ArrayLike) -> NDArray[Any]:
        rows = estimator_rows(self, X, reset=False)
        width = self._atoms_and_bias()[0].shape[1]
        if rows.shape[1] != width:
            raise InputError(f"X has {rows.shape[1]} features, components has {width}")
        return rows

    def _decode(self, codes: Codes) -> NDArray[np.float32]:
        atoms, bias = self._atoms_and_bias()
        return _core.decode(codes, atoms, bias, check_n_jobs(self.n_jobs))

    def _encode_blocks(self, X: NDArray[Any]) -> Iterator[tuple[Prepared, Codes]]:
        """Yield blocks of prepared rows with their codes.

        The Gram matrix is used whenever it is within the budget, however few the rows: it is built
        once and kept beside the dictionary for all later calls.
        """
        atoms, bias = self._atoms_and_bias()
        coder, threads = self._coder(), check_n_jobs(self.n_jobs)
        dictionary = self._compiled(atoms)
        use_gram = coder.rounds > 1 and gram_fits(len(atoms))
        norm_sum = 0.0
        for block in prepared_blocks(X, self._unit_norm(), threads, self._scale()):
            norm_sum += float(block.norms.sum(dtype=np.float64))
            codes = coder.encode(dictionary, block.rows, bias, use_gram=use_gram, n_jobs=threads)
            yield block, codes
        self._check_scale(norm_sum / len(X))

    def _check_scale(self, mean_norm: float) -> None:
        fitted = getattr(self, "input_norm_", 0.0)
        if fitted > 0 and not fitted / SCALE_TOLERANCE <= mean_norm <= fitted * SCALE_TOLERANCE:
            warnings.warn(
                f"the mean norm of the rows of X is {mean_norm:.3g}, that of the rows "
                f"{type(self).__name__} was fitted on was {fitted:.3g}; was the same preprocessing "
                "applied?",
                InputScaleWarning,
                stacklevel=4,
            )


def prepare(
    X: Floats, unit_norm: bool, n_jobs: int | None, *, first_row: int = 0, scale: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows as float32, of unit norm if asked (zero rows stay zero), and their norms.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Rows.
    unit_norm : bool
        Whether to scale.
    n_jobs : int or None
        Threads.
    first_row : int, default=0
        Number of the first row in the caller's array, for the error message.
    scale : float, default=1.0
        What rows are multiplied by at last.

    Raises
    ------
    InputError
        If a value is NaN or infinite.
    """
    try:
        rows, norms = _core.prepare_rows(X, unit_norm, n_jobs)
    except ValueError as error:
        raise input_error(error, first_row) from error
    if scale != 1.0:
        rows *= np.float32(scale)
    return rows, norms


def seen_by(dictionary: Any, X: Floats) -> NDArray[np.float32]:
    """Return preprocessed rows as the dictionary sees them: float32, scaled as it says."""
    unit_norm = bool(getattr(dictionary, "unit_norm_inputs", False))
    scale = float(getattr(dictionary, "input_scale_", 1.0))
    return prepare(X, unit_norm, getattr(dictionary, "n_jobs", None), scale=scale)[0]


def prepared_blocks(
    X: NDArray[Any], unit_norm: bool, n_jobs: int | None, scale: float = 1.0
) -> Iterator[Prepared]:
    """Yield the rows of `X` block by block, prepared."""
    for place, chunk in iter_chunks(X):
        rows, norms = prepare(chunk, unit_norm, n_jobs, first_row=place.start, scale=scale)
        yield Prepared(place, rows, norms)
