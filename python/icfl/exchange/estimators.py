"""From weights to an estimator and back."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from icfl import autoencoders
from icfl.autoencoders.base import SparseAutoencoder
from icfl.autoencoders.given import given
from icfl.exceptions import InputError, InputTypeError, ModelFileError
from icfl.exchange.weights import Activation, Inputs, Weights
from icfl.learning.stepper import Arrays

__all__ = ["to_estimator", "to_weights"]

_KINDS: dict[str, Activation] = {
    "TopKSAE": "topk",
    "AbsTopKSAE": "abs_topk",
    "BatchTopKSAE": "batch_topk",
    "MatryoshkaSAE": "batch_topk",
    "JumpReLUSAE": "jump_relu",
}


def to_estimator(weights: Weights) -> SparseAutoencoder:
    """Return the fitted estimator that encodes as these weights do.

    Thresholds that are all equal need no class of their own: they make a `BatchTopKSAE`.
    """
    arrays: Arrays = {
        "components": weights.components,
        "bias": weights.bias,
        "encoder": weights.encoder,
        "encoder_bias": weights.encoder_bias,
    }
    if weights.threshold is not None:
        arrays["threshold"] = weights.threshold
    name = _class_for(weights, arrays)
    cls: type[SparseAutoencoder] | None = getattr(autoencoders, name, None)
    if cls is None:
        raise ModelFileError(f"threshold differs between latents; this version has no {name}")
    params: dict[str, object] = {"unit_norm_inputs": weights.inputs == "unit_norm"}
    if weights.n_nonzero is not None:
        if weights.n_nonzero > weights.n_components:
            raise ModelFileError(
                f"k is {weights.n_nonzero}, expected at most the {weights.n_components} latents"
            )
        params["n_nonzero"] = weights.n_nonzero
    if weights.widths is not None:
        params["widths"] = weights.widths
    model = cls(weights.n_components)
    model.set_params(**params)
    return given(model, arrays, input_scale=weights.scale)


def to_weights(model: object, inputs: Inputs) -> Weights:
    """Return what a fitted estimator learnt."""
    kind = _KINDS.get(type(model).__name__)
    if kind is None or not isinstance(model, SparseAutoencoder):
        raise InputTypeError(
            f"model: expected {', '.join(sorted(_KINDS))}, got {type(model).__name__}, whose codes "
            "no layout of another library can say; icfl.save keeps it"
        )
    check_is_fitted(model, "components_")
    if model.unit_norm_inputs and inputs == "normalised":
        raise InputError("inputs: the model itself scales rows to unit norm, use 'raw'")
    fitted = model._fitted_arrays()
    n_components, threshold = len(fitted["components"]), fitted.get("threshold")
    nested = type(model).__name__ == "MatryoshkaSAE"
    return Weights(
        kind,
        fitted["encoder"],
        fitted["encoder_bias"],
        fitted["components"],
        fitted["bias"],
        None if kind == "jump_relu" else min(int(model.n_nonzero), n_components),
        None if threshold is None else np.maximum(threshold, np.float32(0)),
        model._widths(n_components) if nested else None,
        model.input_scale_,
        "unit_norm" if model.unit_norm_inputs else inputs,
    )


def _class_for(weights: Weights, arrays: Arrays) -> str:
    """Return the name of the class, after making one threshold of many equal ones."""
    if weights.activation == "jump_relu":
        threshold = np.unique(arrays["threshold"])
        if len(threshold) > 1:
            return "JumpReLUSAE"
        arrays["threshold"] = threshold[0].reshape(())
        return "BatchTopKSAE"
    if weights.widths is not None:
        return "MatryoshkaSAE"
    return next(name for name, kind in _KINDS.items() if kind == weights.activation)
