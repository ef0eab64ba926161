"""Fitting a whitening beside scikit-learn's PCA (by the covariance) and IncrementalPCA."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import ControlWhitener
from speed.answers import oracles
from speed.case import OURS, Case, Contender, Row, Run, Size, require
from speed.inputs import correlated_rows

__all__ = ["ROW"]

# samples, features, IncrementalPCA's samples
SIZES = {
    "quick": (2000, 16, 1000),
    "standard": (200_000, 1024, 25_600),
    "full": (1_000_000, 1024, 25_600),
}
PCA, PCA64 = "scikit-learn PCA, float32", "scikit-learn PCA, float64"
INCREMENTAL = "scikit-learn IncrementalPCA"
BLOCK = 8192

# float64 statistics of n rows are off by about √n 2⁻⁵³ times the spread of the variances, here
# up to 1024: 5e-11 for a million rows.
STATISTICS = 1e-9


def build(size: Size) -> Case:
    n, d, n_incremental = SIZES[size]
    X = correlated_rows(n, d)

    def check(found: Mapping[str, Any]) -> list[str]:
        facts = [_check_white(found[OURS], X)]
        alike = {PCA: found[OURS], PCA64: found[OURS]}
        alike[INCREMENTAL] = ControlWhitener().fit(X[:n_incremental])
        for name in (peer for peer in alike if peer in found):
            variances = found[name].explained_variance_
            off = float(abs(variances / alike[name].explained_variance_ - 1).max())
            facts.append(f"{name}: relative difference of the variances up to {off:.1g}")
        return facts

    ours = Contender(OURS, lambda: lambda: ControlWhitener().fit(X), n)
    peers = [
        Contender(PCA, partial(_sklearn, "fit_pca", X), n, note="covariance in float32"),
        Contender(PCA64, partial(_sklearn, "fit_pca_float64", X), n, note="conversion included"),
        Contender(
            INCREMENTAL, partial(_sklearn, "fit_incremental_pca", X[:n_incremental]), n_incremental
        ),
    ]
    return Case({"d": d}, ours, peers, check)


def _sklearn(name: str, X: NDArray[np.float32]) -> Run:
    from speed.peers import sklearn_peers

    return partial(getattr(sklearn_peers, name), X)


def _check_white(whitener: ControlWhitener, X: NDArray[np.float32]) -> str:
    """The rows it was fitted on have mean 0 and covariance diag(λ / (λ + eps λ_max)).

    float32 outputs are off by 2⁻²⁴ of themselves, so means and covariances of unit-variance
    columns by at most 2 · 2⁻²⁴.
    """
    total, products = 0.0, 0.0
    for start in range(0, len(X), BLOCK):
        white = whitener.transform(X[start : start + BLOCK]).astype(np.float64)
        total, products = total + white.sum(axis=0), products + white.T @ white
    mean = total / len(X)
    covariance = (products - len(X) * np.outer(mean, mean)) / (len(X) - 1)
    variances = whitener.explained_variance_
    expected = np.diag(variances / (variances + whitener.eps * variances.max()))
    worst = max(float(abs(covariance - expected).max()), float(abs(mean).max()))
    require(worst <= 2 * oracles.U + STATISTICS, f"covariance or mean off by {worst:.2g}")
    return f"whitened rows have mean 0 and the stated covariance to {worst:.1g}"


ROW = Row("whitening", "ControlWhitener.fit", build)
