"""Rows whose dictionary is known, and how much of it a learner has found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from icfl.coding.model import seen_by
from icfl.datasets import SyntheticBenchmark
from icfl.metrics import feature_absorption, l0, recovery

SEED_OF_FIT = 1000
"""Added to the seed of the data: drawn from the same one, first atoms would be the planted ones."""
N_TEST = 24_576
ALL = slice(None)


class Truth(NamedTuple):
    """Rows that nothing was learnt from.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features), float32
    codes : csr_array of shape (n_samples, n_true)
    components : ndarray of shape (n_true, n_features), float32
    parents : ndarray of shape (n_true,), int, or None
        Of features in trees.
    """

    X: NDArray[np.float32]
    codes: Any
    components: NDArray[np.float32]
    parents: NDArray[np.intp] | None = None

    def head(self, n_rows: int) -> Truth:
        """Return the first rows."""
        return self._replace(X=self.X[:n_rows], codes=self.codes[:n_rows])


def test_rows(bench: SyntheticBenchmark, n_rows: int, n_jobs: int | None) -> Truth:
    """Return test rows of a benchmark with what is true of them."""
    chunks = list(bench.test(n_rows, n_jobs=n_jobs).chunks())
    codes = sparse.csr_array(sparse.vstack([chunk.codes for chunk in chunks]))
    X = np.concatenate([chunk.X for chunk in chunks])
    return Truth(X, codes, bench.model.components, bench.model.firing.parents)


def found_by(model: Any, truth: Truth, kept: NDArray[np.intp] | slice = ALL) -> Mapping[str, float]:
    """Return what a fitted learner has found, with some of its latents."""
    signed = getattr(model, "selection", "positive") == "positive"
    return found(
        model.transform(truth.X)[:, kept],
        model.components_[kept],
        truth._replace(X=seen_by(model, truth.X)),
        bias=model.bias_,
        sign="signed" if signed else "absolute",
    )


def found(
    Z: Any, components: NDArray[np.float32], truth: Truth, *, bias: Any = None, sign: Any = "signed"
) -> Mapping[str, float]:
    """Return the numbers of a row: each latent judged by the true feature nearest to it.

    "matched_cosine" alone is of pairs one to one.
    """
    known = (truth.codes, truth.components)
    nearest = recovery(Z, components, *known, match="nearest", sign=sign, X=truth.X, bias=bias)
    matched = recovery(Z, components, *known, match="cosine", sign=sign)
    values = sparse.csr_array(Z).data
    numbers = {name: nearest.mean(name) for name in ("f1", "best_f1", "precision", "recall")}
    numbers |= {
        "matched_cosine": matched.mean("cosine"),
        "uniqueness": nearest.uniqueness,
        "l0": float(l0(Z)),
        "dead": nearest.dead,
        "negative": float(np.mean(values < 0)) if len(values) else 0.0,
        "explained_variance": nearest.explained_variance,
    }
    if truth.parents is not None:
        absorption = feature_absorption(Z, components, *known, truth.parents, sign=sign)
        numbers["absorption"] = absorption.mean
    return numbers


def f1(Z: Any, components: NDArray[np.float32], truth: Truth) -> float:
    """Return what `found` calls "f1", without the rest."""
    return recovery(Z, components, truth.codes, truth.components, match="nearest").mean("f1")
