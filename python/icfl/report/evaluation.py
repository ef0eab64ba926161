"""Numbers about a model on labelled data, as a plain dictionary that JSON can hold.

Reconstruction is measured on the inputs as the dictionary sees them (whitened, of unit norm), where
it was learnt. Definitions are those of `icfl.metrics`; nothing is defined here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from threadpoolctl import threadpool_limits

from icfl.exceptions import InputError
from icfl.io import Activations
from icfl.metrics import (
    ReconstructionStats,
    dead_fraction,
    l0,
    linear_probe,
    selectivity,
)
from icfl.report.applying import apply_chunks, dictionary_of, join_codes
from icfl.report.progress import Progress

__all__ = [
    "THRESHOLDS",
    "code_numbers",
    "evaluate",
    "reconstruction_numbers",
    "selectivity_counts",
]

THRESHOLDS = (0.5, 0.2)
"""Selectivities above which features are counted, those of the paper's tables."""

Labels = Mapping[str, NDArray[Any]]


def evaluate(
    model: Any,
    activations: Activations,
    *,
    labels: Labels,
    groups: NDArray[Any] | None = None,
    batch: NDArray[Any] | None = None,
    codes: csr_array | None = None,
    probes: bool = True,
    progress: Callable[..., Progress] = Progress,
) -> dict[str, Any]:
    """Measure a model on labelled activations.

    Parameters
    ----------
    model : Pipeline, ICFL or SparseCoder
        A fitted model.
    activations : Activations
        The data, raw: the model's preprocessing is applied. Without probes they are never held
        whole.
    labels : mapping of str to ndarray of shape (n_samples,)
        What features may be selective for and probes read.
    groups : ndarray of shape (n_samples,), optional
        Groups that probes are held out by, such as plates. Without, folds are random samples.
    batch : ndarray of shape (n_samples,), optional
        Batch labels, for a model that corrects for batches.
    codes : csr_array of shape (n_samples, n_components), optional
        Codes of the data, if they are known already.
    probes : bool, default=True
        Whether to fit linear probes.
    progress : callable, default=Progress
        Called as ``progress(title, total, unit=...)`` for a bar.

    Returns
    -------
    results : dict
        "cosine_similarity", "explained_variance", "l0", "dead_fraction", "n_samples",
        "n_components", and by label "selectivity" and "probes".

    Raises
    ------
    InputError
        If widths, rows or labels do not fit each other.
    """
    dictionary = dictionary_of(model)
    stats, inputs, parts = ReconstructionStats(), [], []
    for name, column in labels.items():
        _check_label(name, column)
    with progress("encode", len(activations)) as bar:
        for applied in apply_chunks(model, activations, batch, codes):
            stats.update(applied.inputs, dictionary.inverse_transform(applied.codes))
            parts.append(applied.codes)
            if probes and labels:
                inputs.append(applied.inputs)
            bar.move_to(applied.rows.stop)
    Z = join_codes(parts)
    results: dict[str, Any] = {"n_samples": len(activations), **code_numbers(Z)}
    results["cosine_similarity"] = float(stats.cosine_similarity)
    results["explained_variance"] = float(stats.explained_variance)
    results["selectivity"] = {name: selectivity_counts(Z, y) for name, y in labels.items()}
    results["probes"] = {}
    if inputs:
        seen = np.concatenate(inputs)
        spaces = {"inputs": seen, "codes": Z, "reconstructions": dictionary.inverse_transform(Z)}
        results["probes"] = _probes(spaces, labels, groups, progress)
    return results


def code_numbers(Z: csr_array) -> dict[str, Any]:
    """Return the number of features, mean non-zeros and dead share of codes (n_samples, M)."""
    return {
        "n_components": int(Z.shape[1]),
        "l0": float(l0(Z)),
        "dead_fraction": float(dead_fraction(Z)),
    }


def reconstruction_numbers(X: NDArray[Any], Xhat: NDArray[Any]) -> dict[str, float]:
    """Return cosine similarity and explained variance of reconstructions, both (n, d)."""
    stats = ReconstructionStats().update(X, Xhat)
    return {
        "cosine_similarity": float(stats.cosine_similarity),
        "explained_variance": float(stats.explained_variance),
    }


def selectivity_counts(Z: csr_array, y: NDArray[Any]) -> dict[str, Any]:
    """Return how many features are selective for some value of the label, and for how many.

    Returns
    -------
    counts : dict
        "n_labels"; for "average" and "maximum" the number of features above each threshold; and
        "labels_covered", the values with a feature of average selectivity above the highest one.
    """
    counts: dict[str, Any] = {}
    for kind in ("average", "maximum"):
        found = selectivity(Z, y, kind=kind)
        counts["n_labels"] = len(found.labels)
        counts[kind] = {f"{limit}": int(found.count_above(limit)) for limit in THRESHOLDS}
        if kind == "average":
            counts["labels_covered"] = int((found.values > THRESHOLDS[0]).any(axis=0).sum())
    return counts


def _one_blas_thread() -> Any:
    """Return a context in which BLAS is serial.

    A probe is thousands of small products, which threads slow down: on two cores, 139 features and
    14 classes a fit takes 0.2 s of processor time with one thread and 1 to 3 s with two.
    """
    return threadpool_limits(limits=1, user_api="blas")


def _check_label(name: str, column: NDArray[Any]) -> None:
    if len(np.unique(column)) < 2:
        raise InputError(f"label {name!r} has one value only, {column[0]!s}")


def _probes(
    spaces: Mapping[str, Any],
    labels: Labels,
    groups: NDArray[Any] | None,
    progress: Callable[..., Progress],
) -> dict[str, Any]:
    """Return, for each label that can be held out, the probes on each of the spaces."""
    answers: dict[str, Any] = {}
    with progress("probes", len(labels) * len(spaces), unit="probes") as bar:
        for label, y in labels.items():
            if groups is None or not _nested(y, groups):
                answers[label] = {"held_out": "random folds" if groups is None else "by group"}
                for name, space in spaces.items():
                    with _one_blas_thread():
                        result = linear_probe(space, y, groups=groups, random_state=0)
                    answers[label][name] = {
                        "mean": result.mean,
                        "std": result.std,
                        "scores": result.scores.tolist(),
                    }
                    answers[label]["chance"] = result.chance
                    bar.advance()
    return answers


def _nested(y: NDArray[Any], groups: NDArray[Any]) -> bool:
    """Return whether every value of y lies within one group, so that none can be held out."""
    pairs = {(str(value), str(group)) for value, group in zip(y, groups, strict=True)}
    return len(pairs) == len(np.unique(y))
