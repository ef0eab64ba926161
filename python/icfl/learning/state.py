"""A learner in forms that outlive the process: for model files, and to recognise a checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from icfl import updates
from icfl.exceptions import InputError
from icfl.learning.checkpoint import fingerprint
from icfl.learning.history import Run
from icfl.learning.minibatches import TrainingRows

if TYPE_CHECKING:
    from icfl.learning.learner import Learner

__all__ = ["from_state", "get_state", "identity"]

FINGERPRINT_ROWS = 64

# Parameters without a say in the dictionary, or that `identity` treats on their own.
_FREE = frozenset(
    {
        "backend",
        "checkpoint",
        "checkpoint_interval",
        "device",
        "n_jobs",
        "random_state",
        "sparse_output",
        "tol",
        "validation_fraction",
        "verbose",
    }
)


def identity(
    model: Learner, rows: TrainingRows, n_components: int, held_back: float
) -> dict[str, Any]:
    """Return what two fits must have in common for one to continue the other."""
    params = {k: v for k, v in model.get_params(deep=False).items() if k not in _FREE}
    params["n_components"] = n_components
    if "update" in params and not isinstance(params["update"], str):
        params["update"] = repr(params["update"])
    params["held back"] = float(held_back)
    if isinstance(model.random_state, Integral):
        params["random_state"] = int(model.random_state)
    if not isinstance(model.init, str):
        init = np.ascontiguousarray(model.init, dtype=np.float64)
        params["init"] = hashlib.blake2b(init.tobytes(), digest_size=16).hexdigest()
    return params | fingerprint(rows.sample(FINGERPRINT_ROWS), len(rows))


def get_state(model: Learner) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return a fitted learner as JSON values and arrays."""
    params = model.get_params(deep=False)
    tensors = model._fitted_arrays()
    if not isinstance(model.init, str):
        tensors["init"] = np.asarray(params.pop("init"), dtype=np.float64)
    if not isinstance(model.random_state, Integral):
        params["random_state"] = None
    if model.checkpoint is not None:
        params["checkpoint"] = os.fspath(model.checkpoint)
    if "update" in params:
        params["update"] = _update_to_json(params["update"])
    # A file says what was learnt, not where: it is opened on other machines.
    params |= {"backend": "auto", "device": None}
    numbers, arrays = model._run.get_state()
    fitted = {"n_features_in_": model.n_features_in_, "n_iter_": model.n_iter_}
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        fitted["feature_names_in_"] = list(map(str, names))
    return {"params": params, "fitted": fitted, "run": numbers}, tensors | arrays


def from_state(
    cls: type[Learner], config: dict[str, Any], tensors: dict[str, NDArray[Any]]
) -> Learner:
    """Return the learner that `get_state` described, after checking that its parts agree."""
    params = dict(config["params"])
    if "update" in params:
        params["update"] = _update_from_json(params["update"])
    if "init" in tensors:
        params["init"] = tensors["init"]
    model = cls(**params)
    fitted, run = config["fitted"], Run.from_state(config["run"], tensors)
    width = fitted["n_features_in_"]
    shapes = model._shapes(len(run.last_active), width)
    for name, shape in shapes.items():
        _check_array(tensors[name], name, shape)
    _check_array(run.window.moments.mean, "window_mean", (width,))
    _check_array(run.window.moments.centred_ss, "window_centred_ss", (width,))
    model.n_features_in_ = width
    if "feature_names_in_" in fitted:
        model.feature_names_in_ = np.asarray(fitted["feature_names_in_"], dtype=object)
    model._stepper = model._stepper_arrays = None
    model._restore({name: tensors[name] for name in shapes}, run, int(fitted["n_iter_"]))
    return model


def _check_array(array: NDArray[Any], name: str, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InputError(
            f"{name} must be a finite floating array of shape {shape}, "
            f"got {array.dtype} of shape {array.shape}"
        )


def _update_to_json(update: Any) -> Any:
    """Return an update's name, or the class and fields of one of `icfl.updates`."""
    if isinstance(update, str):
        return update
    if type(update) in updates.UPDATES.values():
        return {"class": type(update).__name__, "fields": dataclasses.asdict(update)}
    # An update of the user's own: the model encodes as before, only learning on will say that the
    # update is unknown.
    return repr(update)


def _update_from_json(value: Any) -> Any:
    if isinstance(value, str):
        return value
    known = {update.__name__: update for update in updates.UPDATES.values()}
    if value["class"] not in known:
        raise InputError(f"update: {value['class']!r} is not one of icfl.updates")
    return known[value["class"]](**value["fields"])
