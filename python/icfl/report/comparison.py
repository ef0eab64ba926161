"""ICFL and its rivals on groups of samples that nothing was fitted on.

For every held-out plate, whitener, dictionaries, PCA and probes are fitted on the other plates
alone, and everything is measured on the held-out one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from icfl.coding.model import seen_by
from icfl.metrics.probe import probe_on
from icfl.report.evaluation import code_numbers, reconstruction_numbers
from icfl.report.names import METHODS
from icfl.report.rivals import (
    AUTOENCODERS,
    Representation,
    autoencoders,
    principal_components,
    pursuit,
    random_atoms,
    represent,
)

__all__ = ["Fold", "Recipe", "compare", "folds", "summary"]

NUMBERS = ("cosine_similarity", "explained_variance", "l0")


class Fold(NamedTuple):
    """One held-out group.

    Attributes
    ----------
    name : str
        The group.
    raw : ndarray of shape (n_samples, n_features)
        All samples as they came.
    inputs : ndarray of shape (n_samples, n_features), float32
        All samples as the dictionary sees them, whitened by the other groups' controls.
    held_out : ndarray of shape (n_samples,), bool
        Which samples belong to the group.
    model : ICFL
        Fitted on the others.
    """

    name: str
    raw: NDArray[Any]
    inputs: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    model: Any


@dataclass(frozen=True)
class Recipe:
    """How whitener and dictionary are made, so that every fold makes them alike."""

    whitener: Callable[[], Any]
    learner: Callable[[], Any]


def folds(
    X: NDArray[Any],
    control: NDArray[np.bool_],
    groups: NDArray[Any],
    held_out: Sequence[Any],
    recipe: Recipe,
) -> Iterator[Fold]:
    """Yield one fitted fold for each of the groups `held_out`."""
    for group in held_out:
        test = groups == group
        whitener = recipe.whitener().fit(X[~test], control=control[~test])
        white = whitener.transform(X)
        model = recipe.learner().fit(white[~test])
        yield Fold(str(group), X, seen_by(model, white), test, model)


def compare(
    fold: Fold, labels: Mapping[str, NDArray[Any]], iterations: Sequence[int], seed: int
) -> dict[str, Any]:
    """Measure all methods on one fold.

    Parameters
    ----------
    fold : Fold
        Fitted on all samples but those held out.
    labels : mapping of str to ndarray of shape (n_samples,)
        What probes read.
    iterations : sequence of int
        Rounds of pursuit for the curve of reconstruction against sparsity.
    seed : int
        Of the random dictionary and the autoencoders.

    Returns
    -------
    results : dict
        By method: NUMBERS on the held-out samples, "n_components", "dead_fraction" on the held-out
        samples, "probes" by label and space, and "curve".
    """
    test, train = fold.held_out, fold.inputs[~fold.held_out]
    atoms = fold.model.components_
    coders = {
        "icfl": pursuit(atoms, fold.model),
        "random_dictionary": pursuit(random_atoms(fold.model, train, seed), fold.model),
    }
    found = {name: represent(coder, fold.inputs) for name, coder in coders.items()}
    k = _rounded_l0(found["icfl"].codes[test])
    fitted = {**autoencoders(train, len(atoms), k, seed), **principal_components(train, k)}
    found |= {name: represent(model, fold.inputs) for name, model in fitted.items()}
    found["inputs"] = Representation(fold.inputs, fold.inputs)
    results = {name: _measured(fold, name, value, labels) for name, value in found.items()}
    results["raw"] = _read_only(fold, labels)
    for name, points in _curves(fold, coders, iterations).items():
        results[name]["curve"] = points
    for name in AUTOENCODERS:  # trained for one number of non-zeros: a point
        results[name]["curve"] = [{number: results[name][number] for number in NUMBERS}]
    return {name: results[name] for name in METHODS}


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return, by method, mean and standard deviation over the folds of everything measured."""
    return {
        method: {
            **{
                name: _spread([fold[method][name] for fold in results])
                for name in (*NUMBERS, "dead_fraction")
            },
            "n_components": results[0][method]["n_components"],
            "probes": {
                label: {
                    space: _spread([fold[method]["probes"][label][space] for fold in results])
                    for space in spaces
                }
                for label, spaces in results[0][method]["probes"].items()
            },
            "curve": _mean_curve([fold[method].get("curve", []) for fold in results]),
        }
        for method in METHODS
    }


def _measured(
    fold: Fold, name: str, found: Representation, labels: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """Return the numbers of one method on the held-out samples."""
    test = fold.held_out
    spaces = {"codes": found.codes}
    if name not in ("inputs", "pca"):  # of these, codes and reconstructions are the same numbers
        spaces["reconstructions"] = found.reconstructions
    return {
        **reconstruction_numbers(fold.inputs[test], found.reconstructions[test]),
        **code_numbers(found.codes[test]),
        "probes": {
            label: {space: probe_on(values, y, test) for space, values in spaces.items()}
            for label, y in labels.items()
        },
    }


def _curves(
    fold: Fold, coders: Mapping[str, Any], iterations: Sequence[int]
) -> dict[str, list[dict[str, float]]]:
    """Return reconstruction of the held-out samples by number of non-zeros, for each method."""
    train, inputs = fold.inputs[~fold.held_out], fold.inputs[fold.held_out]
    curves: dict[str, list[dict[str, float]]] = {}
    for rounds in iterations:
        found = {
            name: represent(_with_rounds(coder, rounds), inputs) for name, coder in coders.items()
        }
        rivals = principal_components(train, _rounded_l0(found["icfl"].codes))
        found |= {name: represent(model, inputs) for name, model in rivals.items()}
        for name, (codes, reconstructions) in found.items():
            numbers = reconstruction_numbers(inputs, reconstructions)
            curves.setdefault(name, []).append({"l0": code_numbers(codes)["l0"], **numbers})
    return curves


def _with_rounds(coder: Any, rounds: int) -> Any:
    """Return the coder with another number of rounds, however it counts them."""
    n_nonzero = rounds * coder.atoms_per_iteration
    return clone(coder).set_params(n_iterations=rounds, n_nonzero=n_nonzero)


def _rounded_l0(codes: Any) -> int:
    """Return the mean number of non-zeros of codes (n_samples, M), rounded, at least 1."""
    return max(1, round(float(code_numbers(codes)["l0"])))


def _read_only(fold: Fold, labels: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return what probes read of the raw features; whitened inputs cannot be rebuilt from them."""
    probes = {name: {"codes": probe_on(fold.raw, y, fold.held_out)} for name, y in labels.items()}
    nothing = dict.fromkeys((*NUMBERS, "dead_fraction"))
    return {**nothing, "n_components": fold.raw.shape[1], "probes": probes}


def _spread(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Return mean, standard deviation and all values; None where nothing was measured."""
    scores = [float(value) for value in values if value is not None]
    if not scores:
        return None
    return {"mean": float(np.mean(scores)), "std": float(np.std(scores)), "scores": scores}


def _mean_curve(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    return [
        {name: _spread([point[name] for point in points]) for name in NUMBERS}
        for points in zip(*curves, strict=True)
    ]
