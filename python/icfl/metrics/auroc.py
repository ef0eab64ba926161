"""How well each feature's code alone tells a label from all others: area under the ROC curve.

The area is the probability that a random sample of the label has a larger code than a random
sample of the others, ties counting one half (Mann-Whitney's U / (m n)):

    AUC = (R - m (m + 1) / 2) / (m n),   R the sum of mid-ranks of the label's m samples

Where selectivity asks whether a feature is active, this asks how strongly: all thresholds at once.
Most codes are zero and tie, so that a feature that is rarely active stays near 1/2 whatever it
means: of a label's samples, those with a zero earn only half a point each.

References: Hanley and McNeil (1982), "The meaning and use of the area under a receiver operating
characteristic (ROC) curve", Radiology 143; DeLong, DeLong and Clarke-Pearson (1988), "Comparing the
areas under two or more correlated receiver operating characteristic curves", Biometrics 44; Sun and
Xu (2014), "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from icfl import _core
from icfl._frames import data_frame
from icfl._validation import check_n_jobs, native_floats
from icfl.exceptions import InputError
from icfl.metrics._inputs import as_codes
from icfl.metrics._labels import encode_labels

# Dense codes become compressed rows a panel of columns at a time: 2**24 values, 64 MiB of float32.
_PANEL_VALUES = 1 << 24


@dataclass(frozen=True, eq=False)
class FeatureAuroc:
    """Areas under the ROC curve of features for labels; `np.asarray` of it gives the values.

    Attributes
    ----------
    values : ndarray of shape (n_components, n_labels), float64
        From 0 to 1; 1/2 where the code says nothing about the label.
    standard_errors : ndarray of shape (n_components, n_labels), float64
        DeLong's; NaN where the label or the rest has only one sample. 0 where label and rest are
        told apart without error, which is no proof that they always are.
    labels : ndarray of shape (n_labels,)
        The label of each column, sorted.
    n_samples : ndarray of shape (n_labels,), int64
        How many samples carry each label.
    """

    values: npt.NDArray[np.float64]
    standard_errors: npt.NDArray[np.float64]
    labels: npt.NDArray[Any]
    n_samples: npt.NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_components, n_labels)."""
        return self.values.shape[0], self.values.shape[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        values = self.values if dtype is None else self.values.astype(dtype, copy=False)
        return values.copy() if copy else values

    def best(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Return each label's best feature and its area; ties go to the lower feature."""
        rows = self.values.argmax(axis=0)
        return rows, self.values[rows, np.arange(len(self.labels))]

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row per feature and label, largest area first."""
        order = np.argsort(-self.values, axis=None, kind="stable")
        features, columns = np.divmod(order, len(self.labels))
        return data_frame(
            {
                "feature": features,
                "label": self.labels[columns],
                "auroc": self.values.ravel()[order],
                "standard_error": self.standard_errors.ravel()[order],
                "n_samples": self.n_samples[columns],
            }
        )

    def __repr__(self) -> str:
        n_components, n_labels = self.shape
        return f"FeatureAuroc(n_components={n_components}, n_labels={n_labels})"


def feature_auroc(Z: Any, labels: npt.ArrayLike, *, n_jobs: int | None = None) -> FeatureAuroc:
    """Area under the ROC curve of every feature's code, for every label against all others.

    Parameters
    ----------
    Z : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_components)
        Codes. Sparse codes stay sparse; zeros tie, negative codes lie below them.
    labels : array-like of shape (n_samples,)
        Strings, numbers or dates. None, NaN, pandas' NA and "" mean: no label, and the row is left
        out.
    n_jobs : int, optional
        Threads; all cores by default. Results have the same bits for any number.

    Returns
    -------
    FeatureAuroc
        With `.values` (n_components, n_labels), `.standard_errors`, `.labels` and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, there are 2**31 rows or more, or
        fewer than two labels are present.

    See Also
    --------
    selectivity : the same question asked of active and not active alone.

    Notes
    -----
    Sums of ranks are exact integers and become float64 once, at the end. One walk over the sorted
    non-zeros of a feature serves all labels. Beside the codes and the result it takes 8 bytes for
    each non-zero of float32 codes and 16 for float64, and less where there are many: panels of
    features are worked on one per thread.

    Samples of one plate are not independent; the standard errors do not know that.

    References
    ----------
    Hanley and McNeil (1982), Radiology 143:29-36. DeLong, DeLong and Clarke-Pearson (1988),
    Biometrics 44:837-845: the standard errors.

    Examples
    --------
    >>> from icfl.metrics import feature_auroc
    >>> Z = [[2.0, 0.0], [1.0, 1.0], [0.0, 3.0], [0.0, -1.0]]
    >>> result = feature_auroc(Z, ["HeLa", "HeLa", "U2OS", "U2OS"])
    >>> result.labels.tolist(), result.values.tolist()
    (['HeLa', 'U2OS'], [[1.0, 0.0], [0.5, 0.5]])
    """
    threads = check_n_jobs(n_jobs)
    codes = as_codes(Z)
    numbers, names = encode_labels(labels, codes.shape[0])
    if len(names) < 2:
        raise InputError(f"labels must have at least two values, got {names.tolist()}")
    places = numbers.astype(np.int64)
    areas, errors = np.empty((2, codes.shape[1], len(names)))
    try:
        for columns, (starts, indices, data) in _panels(codes):
            out = areas[columns], errors[columns]
            _core.auroc((starts, indices, data), places, *out, threads)
    except ValueError as error:
        raise InputError(str(error)) from error
    totals = np.bincount(numbers[numbers >= 0], minlength=len(names)).astype(np.int64)
    return FeatureAuroc(areas, errors, names, totals)


def _panels(codes: Any) -> Any:
    """Yield pieces of the codes, cut by columns, as the arrays of compressed rows."""
    if sparse.issparse(codes):
        yield slice(None), (codes.indptr.astype(np.int64), codes.indices, codes.data)
        return
    n_rows, width = codes.shape
    step = max(1, _PANEL_VALUES // n_rows)
    for start in range(0, width, step):
        columns = slice(start, min(start + step, width))
        panel = sparse.csr_array(native_floats(codes[:, columns]))
        yield columns, (panel.indptr.astype(np.int64), panel.indices, panel.data)
