"""Shape of the cloud of inputs: how far it sits from the origin, relative to its spread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icfl._validation import check_matrix
from icfl.metrics._column_moments import ColumnMoments
from icfl.metrics._inputs import float64_rows, row_blocks


def anisotropy(X: npt.ArrayLike) -> float:
    """Norm of the mean over norm of the standard deviations: gamma = |mu| / |sigma|.

    Large values predict dead features in a sparse autoencoder and call for centring; centred data
    have 0. sigma is the vector of the features' standard deviations (divided by n). One pass,
    float64, in blocks of rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Inputs.

    Returns
    -------
    float
        0 or larger; infinity if the rows are all equal and not zero, NaN if X is zero everywhere.

    Raises
    ------
    InputError, InputTypeError
        If X is empty, not 2-D, or has a value that is not a finite real number.

    References
    ----------
    arXiv 2605.31518, which finds that gamma predicts the share of dead features.

    Examples
    --------
    >>> from icfl.metrics import anisotropy
    >>> anisotropy([[4.0, 0.0], [2.0, 0.0]])
    3.0
    """
    array = check_matrix(X, "X", minimum_rows=1)
    blocks = (ColumnMoments.of(float64_rows(array, rows, "X")) for rows in row_blocks(array.shape))
    moments = next(blocks)
    for block in blocks:
        moments.merge(block)
    spread = np.sqrt(moments.centred_ss.sum() / moments.n_samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.linalg.norm(moments.mean) / spread)
