"""Autoencoders whose weights come from elsewhere: fitted, without a fit."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from icfl.autoencoders.base import SparseAutoencoder
from icfl.exceptions import InputError
from icfl.learning.history import Run
from icfl.learning.stepper import Arrays

__all__ = ["given"]

Sae = TypeVar("Sae", bound=SparseAutoencoder)


def given(model: Sae, arrays: Arrays, *, input_scale: float = 1.0) -> Sae:
    """Return `model`, fitted: as if a fit had ended with these weights after no step.

    Parameters
    ----------
    model : SparseAutoencoder
        A new estimator; its parameters stay as they are.
    arrays : dict of str to array-like
        "components" (n_components, n_features), "bias" (n_features,), "encoder" (n_components,
        n_features), "encoder_bias" (n_components,) and what else the class has, such as
        "threshold". They are copied as float32.
    input_scale : float, default=1.0
        What rows are multiplied by before they are encoded, after unit norm if asked for.

    Returns
    -------
    SparseAutoencoder
        `model` itself. It encodes at once, and ``partial_fit`` learns on from these weights.

    Raises
    ------
    InputError
        If an array is missing, unknown, not finite, or of another shape than "components" asks for.
    """
    copies = {name: np.array(array, np.float32, order="C") for name, array in arrays.items()}
    rows = copies.get("components", np.zeros(0))
    if rows.ndim != 2 or rows.size == 0:
        raise InputError(f"components must have shape (n_components, n_features), got {rows.shape}")
    shapes = model._shapes(*rows.shape)
    if copies.keys() != shapes.keys():
        raise InputError(
            f"arrays must be {', '.join(sorted(shapes))}, got {', '.join(sorted(copies))}"
        )
    for name, shape in shapes.items():
        if copies[name].shape != shape or not np.isfinite(copies[name]).all():
            raise InputError(
                f"{name} must be finite and of shape {shape}, got shape {copies[name].shape}"
            )
    run = Run.start(0, *rows.shape)
    run.input_scale = float(input_scale)
    model.n_features_in_ = rows.shape[1]
    model._stepper = model._stepper_arrays = None
    model._restore(copies, run, 0)
    return model
