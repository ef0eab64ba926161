"""A saved model on new data, chunk by chunk: preprocessing, codes, reconstruction.

A model file holds a dictionary alone or a pipeline of a `ControlWhitener` and a dictionary. Batch
labels go to the whitener by hand: a scikit-learn pipeline passes them on only where metadata
routing is switched on, and then not for a model loaded from a file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from sklearn.pipeline import Pipeline

from icfl._validation import Floats
from icfl.coding.model import seen_by
from icfl.exceptions import InputError
from icfl.io import Activations
from icfl.whitening import ControlWhitener

__all__ = [
    "Applied",
    "apply_chunks",
    "dictionary_of",
    "feature_names",
    "join_codes",
    "n_inputs",
]


class Applied(NamedTuple):
    """One chunk of data as a model sees it.

    Attributes
    ----------
    rows : slice
        Which samples.
    inputs : ndarray of shape (n_rows, n_features), float32
        Whitened and scaled rows, as the dictionary sees them.
    codes : csr_array of shape (n_rows, n_components), float32
        Their codes.
    """

    rows: slice
    inputs: NDArray[np.float32]
    codes: csr_array


def dictionary_of(model: Any) -> Any:
    """Return the estimator with the dictionary: the model itself or its pipeline's last step."""
    dictionary = model.steps[-1][1] if isinstance(model, Pipeline) else model
    if not hasattr(dictionary, "components_") or not hasattr(dictionary, "reconstruct"):
        raise InputError(f"the model is a {type(dictionary).__name__}: it has no dictionary to use")
    return dictionary


def feature_names(model: Any) -> list[str] | None:
    """Return the names of the features the model was fitted on, if it knows them."""
    names = getattr(_first(model), "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def n_inputs(model: Any) -> int:
    """Return how many features the model takes."""
    return int(_first(model).n_features_in_)


def needs_batch(model: Any) -> bool:
    """Return whether the model was fitted with a correction for each batch."""
    return any(
        isinstance(step, ControlWhitener) and step.batch_correction is not None
        for step in _preprocessing(model)
    )


def whitened(model: Any, X: Floats, batch: NDArray[Any] | None) -> Floats:
    """Return the rows after the model's preprocessing, before they are scaled."""
    for step in _preprocessing(model):
        if isinstance(step, ControlWhitener):
            X = step.transform(X, batch=batch if step.batch_correction else None)
        else:
            X = step.transform(X)
    return X


def apply_chunks(
    model: Any,
    activations: Activations,
    batch: NDArray[Any] | None = None,
    codes: csr_array | None = None,
) -> Iterator[Applied]:
    """Yield chunks of the data with their codes.

    Parameters
    ----------
    model : Pipeline, ICFL or SparseCoder
        A fitted model.
    activations : Activations
        The data. Where both it and the model name their features, these are matched by name.
    batch : ndarray of shape (n_samples,), optional
        Batch labels, for a model that corrects for batches.
    codes : csr_array of shape (n_samples, n_components), optional
        Codes that are known already.

    Yields
    ------
    applied : Applied
        Consecutive chunks.

    Raises
    ------
    InputError
        If the width is wrong, batch labels are missing or a value is not finite.
    """
    dictionary, width = dictionary_of(model), n_inputs(model)
    names = feature_names(model)
    if names is not None and activations.feature_names is not None:
        activations = activations.select(names)
    if activations.shape[1] != width:
        raise InputError(
            f"{activations.source} has {activations.shape[1]} features, the model was fitted on "
            f"{width}"
        )
    if codes is not None and codes.shape != (len(activations), len(dictionary.components_)):
        raise InputError(
            f"the codes have shape {codes.shape}, expected {len(activations)} samples and "
            f"{len(dictionary.components_)} components"
        )
    if batch is None and needs_batch(model):
        raise InputError("the model corrects for batches: name the column of batch labels")
    for rows, values in activations.chunks():
        with _names_checked_already():
            clean = whitened(model, values, None if batch is None else batch[rows])
            found = dictionary.transform(clean) if codes is None else codes[rows]
        yield Applied(rows, seen_by(dictionary, clean), csr_array(found))


def join_codes(chunks: Iterable[csr_array]) -> csr_array:
    """Return chunks of codes as one array, in canonical CSR form."""
    codes = csr_array(vstack(list(chunks), format="csr"))
    codes.sort_indices()
    return codes


def _first(model: Any) -> Any:
    return model.steps[0][1] if isinstance(model, Pipeline) else model


@contextmanager
def _names_checked_already() -> Iterator[None]:
    """Keep scikit-learn from warning that the chunks are arrays without column names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        yield


def _preprocessing(model: Any) -> list[Any]:
    return [step for _, step in model.steps[:-1]] if isinstance(model, Pipeline) else []
