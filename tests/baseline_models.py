"""What the tests of the baselines share: rows, and every baseline fitted to them.

A file that imports `fixed_rows`, `prepared_rows` and `fitted_models` has the fixtures `X`, `P` and
`models`.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

import oracles
from icfl.baselines import ICA, NMF, PCA, KMeans, RandomAtoms, RawInputs

SAFETY = 4
SMALL = {
    "pca": PCA(6),
    "ica": ICA(3, random_state=0),
    "nmf": NMF(4, max_iter=2000, random_state=0),
    "kmeans": KMeans(9, random_state=0),
    "random": RandomAtoms(40, n_nonzero=4, random_state=0),
    "raw": RawInputs(),
}
NAMES = list(SMALL)
SELECTING = ["pca", "ica", "nmf", "raw"]


@pytest.fixture(scope="module", name="X")
def fixed_rows():
    """Non-negative rows of independent parts, with norms of about 10 and a zero row."""
    rng = np.random.default_rng(0)
    X = rng.exponential(size=(300, 5)) ** 2 @ rng.random((5, 12)) + rng.random((300, 12))
    X[17] = 0
    return X.astype(np.float32)


@pytest.fixture(scope="module", name="models")
def fitted_models(X):
    return {name: clone(model).fit(X) for name, model in SMALL.items()}


@pytest.fixture(scope="module", name="P")
def prepared_rows(X):
    """Rows as the baselines see them: unit norm, rounded to float32, kept in float64."""
    return oracles.unit_rows(X).astype(np.float32).astype(np.float64)


def dense(Z) -> np.ndarray:
    """Return sparse codes as float64."""
    return Z.toarray().astype(np.float64)
