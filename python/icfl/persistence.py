"""Estimators to and from model files.

An estimator that can be saved knows two things about itself and nothing about files:

``get_state() -> (config, tensors)``
    ``config`` is what JSON can hold (parameters, counts, provenance of the fit), ``tensors`` the
    fitted arrays.
``from_state(config, tensors)``
    A class method that gives the estimator back. It checks every shape against the configuration,
    because a file that is whole may still contradict itself.

A scikit-learn ``Pipeline`` of such estimators is one file, with each step's tensors under
``"<step>/"``: the preprocessing travels with the model. A class becomes loadable by a row in
`CLASSES`; a file can name no other.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from icfl import model_file
from icfl._core import __version__
from icfl.exceptions import InputError, InputTypeError, ModelFileError

__all__ = ["CLASSES", "Saveable", "load", "save"]

State = tuple[dict[str, Any], dict[str, NDArray[Any]]]

CLASSES: dict[str, str] = {
    "AbsTopKSAE": "icfl.autoencoders",
    "BatchTopKSAE": "icfl.autoencoders",
    "JumpReLUSAE": "icfl.autoencoders",
    "MatchingPursuitSAE": "icfl.autoencoders",
    "MatryoshkaSAE": "icfl.autoencoders",
    "TopKSAE": "icfl.autoencoders",
    "ControlWhitener": "icfl.whitening",
    "ICA": "icfl.baselines",
    "ICFL": "icfl.learning",
    "KMeans": "icfl.baselines",
    "NMF": "icfl.baselines",
    "PCA": "icfl.baselines",
    "RandomAtoms": "icfl.baselines",
    "RawInputs": "icfl.baselines",
    "SparseCoder": "icfl.coding",
}
"""Classes that can be saved, with the module that is imported only when one is needed."""

_ROUTED = ("fit", "partial_fit", "transform", "inverse_transform", "score")


class Saveable(Protocol):
    """What an estimator offers to be kept in a file."""

    def get_state(self) -> State:
        """Return the configuration and the fitted arrays."""
        ...

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Any:
        """Return the estimator of that state; raise ValueError if it contradicts itself."""
        ...


def save(model: object, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator, or a pipeline of them, to one file.

    Parameters
    ----------
    model : ICFL, ControlWhitener, SparseCoder, a baseline or sklearn.pipeline.Pipeline
        What to save: an estimator of a class in `CLASSES`, or a pipeline of such. Of a pipeline:
        its steps and their metadata requests.
    path : str or os.PathLike
        Name of the file. One that exists is replaced, and stays whole if anything goes wrong.

    Raises
    ------
    InputTypeError
        `model`, or a step of it, is of a class that cannot be saved.
    InputError
        A pipeline has a step whose name contains ``"/"``.
    OSError
        The file cannot be written.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile, numpy as np, icfl
    >>> X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     icfl.save(icfl.ControlWhitener().fit(X), f"{folder}/w.safetensors")
    ...     icfl.load(f"{folder}/w.safetensors").transform(X).shape
    (200, 4)
    """
    tensors: dict[str, NDArray[Any]] = {}
    if isinstance(model, Pipeline) and type(model) is Pipeline:
        kind = "pipeline"
        steps = [_describe(step, name, f"{name}/", tensors) for name, step in model.steps]
    else:
        kind = "estimator"
        steps = [_describe(model, "", "", tensors)]
    metadata = {"kind": kind, "steps": steps, "written_with": _versions()}
    model_file.write(path, tensors, metadata)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote.

    Nothing in the file is executed or unpickled: it names one of the classes listed in `CLASSES`,
    and gives that class its configuration and arrays.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file.

    Returns
    -------
    model : ICFL, ControlWhitener, SparseCoder, a baseline or sklearn.pipeline.Pipeline
        The fitted estimator, of the class that was saved.

    Raises
    ------
    ModelFileError
        The file is damaged, holds no estimator, or one that this version does not know.
    OSError
        The file cannot be opened or read.

    See Also
    --------
    save : What writes such files.

    Examples
    --------
    >>> import tempfile, numpy as np, icfl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     icfl.save(icfl.SparseCoder(np.eye(4, dtype=np.float32)), f"{folder}/c.safetensors")
    ...     type(icfl.load(f"{folder}/c.safetensors")).__name__
    'SparseCoder'
    """
    tensors, metadata = model_file.read(path)
    try:
        return _from_metadata(metadata, tensors)
    except ModelFileError as error:
        raise ModelFileError(f"{os.fspath(path)}: {error}") from error.__cause__


def _describe(
    step: object, name: str, prefix: str, tensors: dict[str, NDArray[Any]]
) -> dict[str, Any]:
    """Return what the metadata say of `step`, and add its tensors to `tensors`."""
    kind = type(step).__name__
    if "/" in name:
        raise InputError(f"model: names of steps must be free of '/', got {name!r}")
    if kind not in CLASSES or type(step) is not _class(kind):
        known = ", ".join(sorted(CLASSES))
        # scikit-learn has classes of the same names.
        got = f"{kind} of {type(step).__module__}" if kind in CLASSES else kind
        raise InputTypeError(f"model: expected {known} or a Pipeline of them, got {got}")
    config, arrays = cast(Saveable, step).get_state()
    tensors.update({prefix + key: array for key, array in arrays.items()})
    return {"name": name, "class": kind, "config": config, "requests": _requests(step)}


def _class(name: str) -> type[Any]:
    return cast(type[Any], getattr(importlib.import_module(CLASSES[name]), name))


def _versions() -> dict[str, str]:
    return {
        "icfl": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
    }


def _requests(step: object) -> dict[str, dict[str, bool | str]]:
    """Return what was asked of metadata routing, as by ``set_transform_request(batch=True)``."""
    if not hasattr(step, "get_metadata_routing"):
        return {}
    routing = step.get_metadata_routing()
    asked = {
        method: {key: value for key, value in requests.items() if value is not None}
        for method in _ROUTED
        if (requests := getattr(routing, method).requests)
    }
    return {method: requests for method, requests in asked.items() if requests}


def _from_metadata(metadata: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Any:
    kind, steps = metadata.get("kind"), metadata.get("steps")
    if kind not in ("estimator", "pipeline") or not isinstance(steps, list) or not steps:
        raise ModelFileError("holds no estimator")
    if kind == "estimator":
        return _restore(steps[0], tensors)
    named, claimed = [], 0
    for step in steps:
        name = step.get("name") if isinstance(step, dict) else None
        if not isinstance(name, str):
            raise ModelFileError("inconsistent: a step has no name")
        prefix = f"{name}/"
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        named.append((name, _restore(step, own)))
        claimed += len(own)
    if claimed != len(tensors):
        raise ModelFileError("inconsistent: it has tensors that belong to none of its steps")
    return Pipeline(named)


def _restore(step: object, tensors: dict[str, NDArray[Any]]) -> Any:
    match step:
        case {"class": str(name), "config": dict(config), "requests": dict(requests)}:
            pass
        case _:
            raise ModelFileError("inconsistent: an estimator lacks its class or configuration")
    if name not in CLASSES:
        raise ModelFileError(
            f"holds a {name!r}, which this version of icfl does not know (it knows "
            f"{', '.join(sorted(CLASSES))})"
        )
    try:
        model = _class(name).from_state(config, tensors)
        _set_requests(model, requests)
    except ModelFileError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"inconsistent: no {name} has this state ({type(error).__name__}: {error})"
        ) from error
    return model


def _set_requests(model: Any, requests: Mapping[str, dict[str, bool | str]]) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        for method, asked in requests.items():
            if method not in _ROUTED:
                raise ValueError(f"metadata requests for {method!r}")
            getattr(model, f"set_{method}_request")(**asked)
