"""Per-batch corrections that act on white coordinates, fitted on each batch's controls.

`CenterScale` standardises every coordinate with the mean and the standard deviation of the batch's
controls ("PCA-CenterScale"). `Coral` multiplies by (C_b + 0.5 I)^(-1/2), with C_b the covariance of
the batch's controls: the last step of typical variation normalisation (TVN). CORAL's recolouring to
the reference is the identity here, since the pooled controls are white.

Both are linear in the inputs, so the moments of each batch in input space are all they need. A new
correction is a class with the same face and one entry in `CORRECTIONS`.

References
----------
Ando, McLean, Berndl, "Improving phenotypic measurements in high-content imaging screens",
bioRxiv 161422 (2017).
Sun, Feng, Saenko, "Return of frustratingly easy domain adaptation", AAAI (2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from icfl.exceptions import InputError, InputTypeError
from icfl.whitening.basis import Basis, symmetric_eigen
from icfl.whitening.moments import Doubles, Moments

__all__ = [
    "CORRECTIONS",
    "CenterScale",
    "Codes",
    "Coral",
    "Correction",
    "Label",
    "encode_labels",
    "name_labels",
]

Label: TypeAlias = "str | int"
Codes: TypeAlias = NDArray[np.intp]

CORAL_RIDGE = 0.5


class Correction(Protocol):
    """What a per-batch correction can do; `codes` (n,) are row numbers into the fitted batches."""

    axes: ClassVar[dict[str, str]]

    @classmethod
    def fit(cls, basis: Basis, batches: Sequence[Moments]) -> Correction:
        """Return the correction for `batches`, each with two or more controls."""
        ...

    def apply(self, white: Doubles, codes: Codes) -> Doubles:
        """Correct white coordinates (n, n_components)."""
        ...

    def undo(self, corrected: Doubles, codes: Codes) -> Doubles:
        """Return what `apply` was given."""
        ...


@dataclass(frozen=True, eq=False)
class CenterScale:
    """Standardisation of each coordinate per batch; both arrays (n_batches, n_components).

    The variance is shrunk and gets the same eps * lambda_max as the global one, so a coordinate in
    which few controls happen to agree is not blown up. Where even that leaves zero, the global
    scale stays.
    """

    offset: Doubles
    factor: Doubles

    axes: ClassVar[dict[str, str]] = {"offset": "bk", "factor": "bk"}

    @classmethod
    def fit(cls, basis: Basis, batches: Sequence[Moments]) -> CenterScale:
        """Return the correction for `batches`, each with two or more controls."""
        offset = basis.whiten(np.array([batch.mean for batch in batches]))
        # Only the diagonal of `basis.white_scatter` is needed.
        linear = basis.linear
        added = (basis.floor + basis.ridge) / basis.spread**2
        factor = np.empty_like(offset)
        for row, batch in zip(factor, batches, strict=True):
            variance = np.einsum("ij,ij->i", linear @ batch.scatter, linear) / batch.count
            row[:] = np.sqrt((1 - basis.shrinkage) * np.maximum(variance, 0.0) + added)
        return cls(offset, np.where(factor > 0, factor, 1.0))

    def apply(self, white: Doubles, codes: Codes) -> Doubles:
        """Correct white coordinates (n, n_components)."""
        return (white - self.offset[codes]) / self.factor[codes]

    def undo(self, corrected: Doubles, codes: Codes) -> Doubles:
        """Return what `apply` was given."""
        return corrected * self.factor[codes] + self.offset[codes]


@dataclass(frozen=True, eq=False)
class Coral:
    """Alignment of each batch's covariance; `linear` is (n_batches, n_components, n_components)."""

    linear: Doubles

    axes: ClassVar[dict[str, str]] = {"linear": "bkk"}

    @classmethod
    def fit(cls, basis: Basis, batches: Sequence[Moments]) -> Coral:
        """Return the correction for `batches`, each with two or more controls."""
        k = len(basis.spread)
        linear = np.empty((len(batches), k, k))
        for matrix, batch in zip(linear, batches, strict=True):
            covariance = basis.white_scatter(batch) / (batch.count - 1)
            values, vectors = symmetric_eigen(covariance)
            matrix[:] = (vectors / np.sqrt(np.maximum(values, 0.0) + CORAL_RIDGE)) @ vectors.T
        return cls(linear)

    def apply(self, white: Doubles, codes: Codes) -> Doubles:
        """Correct white coordinates (n, n_components)."""
        corrected = np.empty_like(white)
        for code in np.unique(codes):
            rows = codes == code
            corrected[rows] = white[rows] @ self.linear[code]
        return corrected

    def undo(self, corrected: Doubles, codes: Codes) -> Doubles:
        """Return what `apply` was given."""
        white = np.empty_like(corrected)
        for code in np.unique(codes):
            rows = codes == code
            matrix = self.linear[code]  # symmetric, condition number sqrt(2 max(C_b) + 1) at most
            white[rows] = scipy.linalg.solve(matrix, corrected[rows].T, assume_a="pos").T
        return white


CORRECTIONS: dict[str, type[CenterScale] | type[Coral]] = {
    "center-scale": CenterScale,
    "coral": Coral,
}


def encode_labels(batch: ArrayLike, n_samples: int) -> tuple[list[Label], Codes]:
    """Return the distinct labels, sorted, and for each row which of them it carries.

    Parameters
    ----------
    batch : array-like of shape (n_samples,), strings or integers
        Whole floats count as integers: that is how pandas reads an integer column with gaps.
    n_samples : int
        Rows of X.

    Raises
    ------
    InputError
        If the length is wrong or a label is missing (None, NaN, NA).
    InputTypeError
        If a label is neither a string nor an integer.
    """
    array = np.asarray(batch)
    if array.shape != (n_samples,):
        raise InputError(
            f"batch must have one label per row of X, shape ({n_samples},), got {array.shape}"
        )
    if array.dtype.kind in "iuU":
        distinct, codes = np.unique(array, return_inverse=True)
        return distinct.tolist(), codes.astype(np.intp, copy=False)
    return _encode_objects(array)


def _encode_objects(array: NDArray[Any]) -> tuple[list[Label], Codes]:
    found: dict[Any, int] = {}
    try:
        first_codes = np.fromiter(
            (found.setdefault(value, len(found)) for value in array.tolist()), np.intp, len(array)
        )
    except TypeError:
        raise InputTypeError("batch labels must be strings or integers") from None
    labels = [_as_label(value, int(np.argmax(first_codes == i))) for value, i in found.items()]
    order = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    place = {label: i for i, label in enumerate(order)}
    renumber = np.array([place[label] for label in labels], dtype=np.intp)
    return order, renumber[first_codes] if labels else first_codes


def _as_label(value: object, row: int) -> Label:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    number = float(value) if isinstance(value, (float, np.floating)) else None
    # pandas' NA and NaT are known by name, so that pandas need not be there.
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        raise InputError(f"batch has no label in row {row}: {value!r}")
    if number is not None and math.isnan(number):
        raise InputError(f"batch has no label in row {row}: {value!r}")
    if number is not None and number.is_integer():
        return int(number)
    raise InputTypeError(f"batch labels must be strings or integers, got {value!r} in row {row}")


def name_labels(labels: Sequence[Label], limit: int = 5) -> str:
    """Return the first labels as text, with how many more there are."""
    text = ", ".join(repr(label) for label in labels[:limit])
    more = len(labels) - limit
    return f"{text} and {more} more" if more > 0 else text
