"""Fitting a whitening beside scikit-learn's PCA (by the covariance) and IncrementalPCA."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import ControlWhitener
from speed.answers import oracles
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import correlated_rows

__all__ = ["ROW"]

# samples, features, samples of PCA by a full SVD, of IncrementalPCA
SIZES = {
    "quick": (2000, 16, 1000, 1000),
    "standard": (200_000, 1024, 50_000, 25_600),
    # The SVD of a million rows would need 16 GiB beside the 4 of its input, and minutes.
    "full": (1_000_000, 1024, 200_000, 25_600),
}
DEFAULT, PCA, PCA64 = "PCA(whiten=True)", "PCA by covariance, float32", "PCA by covariance, float64"
INCREMENTAL = "IncrementalPCA"
BLOCK = 8192

# float64 statistics of n rows are off by about √n 2⁻⁵³ times the spread of the variances, here
# up to 1024: 5e-11 for a million rows.
STATISTICS = 1e-9


def build(size: Size) -> Case:
    n, d, n_default, n_incremental = SIZES[size]
    X = correlated_rows(n, d)

    def check(found: Mapping[str, Any]) -> list[str]:
        facts = [_check_white(found[OURS], X)]
        alike = {PCA: found[OURS], PCA64: found[OURS]}
        alike[DEFAULT] = ControlWhitener().fit(X[:n_default])
        alike[INCREMENTAL] = ControlWhitener().fit(X[:n_incremental])
        for name in (peer for peer in alike if peer in found):
            variances = found[name].explained_variance_
            off = float(abs(variances / alike[name].explained_variance_ - 1).max())
            facts.append(f"{name}: relative difference of the variances up to {off:.1g}")
        return facts

    ours = Contender(OURS, lambda: lambda: ControlWhitener().fit(X), n)
    faster, leaner = Target(ratio=1.5), Target(ratio=1.5, memory_share=0.1)
    peers = [
        _peer(DEFAULT, "fit_default_pca", X[:n_default], leaner, "a full SVD, its default here"),
        _peer(PCA, "fit_pca", X, faster, "inexact: loses small variances"),
        _peer(PCA64, "fit_pca_float64", X, leaner, "conversion included"),
        _peer(INCREMENTAL, "fit_incremental_pca", X[:n_incremental], Target(ratio=5)),
    ]
    return Case({"d": d}, ours, peers, check)


def _peer(name: str, fit: str, X: NDArray[np.float32], target: Target, note: str = "") -> Contender:
    return Contender(name, partial(_sklearn, fit, X), len(X), "sklearn", note, target=target)


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
