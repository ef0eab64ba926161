"""A fitted whitener as plain data: a JSON-able description and named float64 arrays.

Eigenvectors are stored, not recomputed on loading: another LAPACK may turn nearly equal directions
or flip them, and a dictionary learnt in one set of axes means nothing in another. What is read back
is checked for presence, dtype, shape and finiteness before anything is allocated for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import ModelFileError
from icfl.whitening.basis import Basis
from icfl.whitening.batch_correction import CORRECTIONS, Label
from icfl.whitening.mapping import BatchMap, WhiteningMap
from icfl.whitening.moments import Doubles, Moments

__all__ = ["StateReader", "pack_map", "pack_moments", "plain", "unpack_map", "unpack_moments"]

Config = dict[str, Any]
Tensors = dict[str, NDArray[Any]]

# One letter per axis: k components, d features, b batches, s sets of moments, p = d (d + 1) / 2.
_BASIS_AXES = {"mean": "d", "scale": "d", "components": "kd", "variances": "k", "spread": "k"}
_BASIS_NUMBERS = ("total_variance", "shrinkage", "floor", "ridge")
_MOMENT_AXES = {"origin": "sd", "offset": "sd", "third": "sd", "fourth": "s"}


class StateReader:
    """Takes checked values out of a state; every failure is a ModelFileError naming the entry.

    Parameters
    ----------
    config : mapping
        The JSON part.
    tensors : mapping of str to ndarray
        The arrays. Those taken are ticked off.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        self.config = config
        self.left = dict(tensors)
        self.sizes: dict[str, int] = {}

    def entry(self, name: str) -> Any:
        """Return a required entry of the configuration."""
        if name not in self.config:
            raise ModelFileError(f"whitening state lacks {name!r}")
        return self.config[name]

    def integer(self, name: str, minimum: int) -> int:
        """Return an integer entry."""
        return _integer(self.entry(name), name, minimum)

    def number(self, name: str) -> float:
        """Return a finite entry >= 0."""
        value = self.entry(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 <= value < np.inf
        ):
            raise ModelFileError(
                f"whitening state: {name!r} must be finite and >= 0, got {value!r}"
            )
        return float(value)

    def flag(self, name: str) -> bool:
        """Return a boolean entry."""
        value = self.entry(name)
        if not isinstance(value, bool):
            raise ModelFileError(f"whitening state: {name!r} must be a boolean, got {value!r}")
        return value

    def arguments(self, name: str, expected: Mapping[str, Any]) -> dict[str, Any]:
        """Return an entry that has exactly the keys of `expected`."""
        value = self.entry(name)
        if not isinstance(value, dict) or set(value) != set(expected):
            raise ModelFileError(f"whitening state: {name!r} must have {sorted(expected)}")
        return dict(value)

    def names(self, name: str, size: int) -> list[str] | None:
        """Return a list of `size` strings, or None."""
        value = self.entry(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ModelFileError(f"whitening state: {name!r} must list strings")
        if len(value) != size:
            raise ModelFileError(f"whitening state: {name!r} must list {size} names")
        return list(value)

    def labels(self, name: str) -> list[Label]:
        """Return a list of distinct strings and integers."""
        values = self.entry(name)
        if not isinstance(values, list) or not all(_is_label(value) for value in values):
            raise ModelFileError(f"whitening state: {name!r} must list strings or integers")
        if len(set(values)) < len(values):
            raise ModelFileError(f"whitening state: {name!r} names a batch twice")
        return list(values)

    def counts(self, labels: str, counts: str) -> dict[Label, int]:
        """Return two parallel lists, of labels and of their counts, as a dictionary."""
        keys, values = self.labels(labels), self.entry(counts)
        if not isinstance(values, list) or len(values) != len(keys):
            raise ModelFileError(f"whitening state: {counts!r} must list {len(keys)} counts")
        return {key: _integer(n, counts, 0) for key, n in zip(keys, values, strict=True)}

    def array(self, name: str, axes: str) -> Doubles:
        """Return a finite float64 array; an axis letter of unknown size takes the array's."""
        array = self.left.pop(name, None)
        if array is None:
            raise ModelFileError(f"whitening state lacks the tensor {name!r}")
        shape = tuple(np.shape(array))
        if len(shape) == len(axes):
            for letter, size in zip(axes, shape, strict=True):
                self.sizes.setdefault(letter, size)
        expected = tuple(self.sizes.get(letter, -1) for letter in axes)
        if shape != expected or array.dtype != np.float64:
            raise ModelFileError(
                f"whitening tensor {name!r} must be float64 of shape {expected}, got"
                f" {array.dtype} of shape {shape}"
            )
        if not np.isfinite(array).all():
            raise ModelFileError(f"whitening tensor {name!r} contains NaN or infinity")
        return np.array(array, order="C")

    def finish(self) -> None:
        """Refuse tensors that nothing asked for."""
        if self.left:
            raise ModelFileError(f"whitening state has unknown tensors: {sorted(self.left)}")


def plain(parameters: Mapping[str, Any]) -> Config:
    """Return parameters with NumPy scalars as the Python numbers that JSON knows."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in parameters.items()
    }


def pack_map(fitted: WhiteningMap) -> tuple[Config, Tensors]:
    """Return what `unpack_map` needs."""
    config: Config = {name: getattr(fitted.basis, name) for name in _BASIS_NUMBERS}
    config |= {
        "n_controls": fitted.basis.n_controls,
        "rotate_back": fitted.rotate_back,
        "correction": None,
    }
    tensors: Tensors = {name: getattr(fitted.basis, name) for name in _BASIS_AXES}
    if fitted.batches is not None:
        batches = fitted.batches
        config["correction"] = batches.kind
        config["batches"] = list(batches.labels)
        config["lacking"] = list(batches.lacking)
        config["lacking_counts"] = list(batches.lacking.values())
        for name in batches.correction.axes:
            tensors[f"batch_{name}"] = getattr(batches.correction, name)
    return config, tensors


def unpack_map(reader: StateReader) -> WhiteningMap:
    """Return the map behind a state; the number of features is in ``reader.sizes["d"]``."""
    arrays = {name: reader.array(name, axes) for name, axes in _BASIS_AXES.items()}
    if not 1 <= reader.sizes["k"] <= reader.sizes["d"]:
        raise ModelFileError(f"whitening tensor 'components' has {reader.sizes['k']} rows")
    _require_positive(arrays, "scale", "spread")
    numbers = {name: reader.number(name) for name in _BASIS_NUMBERS}
    parts: dict[str, Any] = {**arrays, **numbers, "n_controls": reader.integer("n_controls", 2)}
    basis = Basis(**parts)
    return WhiteningMap(basis, reader.flag("rotate_back"), _unpack_batches(reader))


def _unpack_batches(reader: StateReader) -> BatchMap | None:
    kind = reader.entry("correction")
    if kind is None:
        return None
    if not isinstance(kind, str) or kind not in CORRECTIONS:
        raise ModelFileError(f"whitening state: unknown correction {kind!r}")
    labels = reader.labels("batches")
    reader.sizes["b"] = len(labels)
    correction = CORRECTIONS[kind]
    arrays = {name: reader.array(f"batch_{name}", axes) for name, axes in correction.axes.items()}
    _require_positive(arrays, "factor")
    lacking = reader.counts("lacking", "lacking_counts")
    return BatchMap(kind, correction(**arrays), labels, lacking)


def pack_moments(moments: Mapping[Label | None, Moments]) -> tuple[Config, Tensors]:
    """Return what `unpack_moments` needs; of the symmetric scatter only the upper triangle."""
    parts = list(moments.values())
    upper = np.triu_indices(parts[0].n_features)
    labels = None if None in moments else list(moments)
    config: Config = {"sets": labels, "set_counts": [part.count for part in parts]}
    tensors: Tensors = {
        f"moments_{name}": np.array([getattr(part, name) for part in parts], dtype=np.float64)
        for name in _MOMENT_AXES
    }
    tensors["moments_scatter"] = np.array([part.scatter[upper] for part in parts])
    return config, tensors


def unpack_moments(reader: StateReader) -> dict[Label | None, Moments]:
    """Return the moments behind a state; the number of features is in ``reader.sizes["d"]``."""
    counts = _set_counts(reader)
    d = reader.sizes["d"]
    reader.sizes |= {"s": len(counts), "p": d * (d + 1) // 2}
    packed = reader.array("moments_scatter", "sp")
    arrays = {name: reader.array(f"moments_{name}", axes) for name, axes in _MOMENT_AXES.items()}
    upper = np.triu_indices(d)
    moments: dict[Label | None, Moments] = {}
    for i, (label, count) in enumerate(counts.items()):
        scatter = np.zeros((d, d))
        scatter[upper] = packed[i]
        scatter.T[upper] = packed[i]
        origin, offset, third = (arrays[name][i].copy() for name in ("origin", "offset", "third"))
        fourth = float(arrays["fourth"][i])
        moments[label] = Moments(count, origin, offset, scatter, third, fourth)
    return moments


def _set_counts(reader: StateReader) -> dict[Label | None, int]:
    if reader.entry("sets") is not None:
        return dict(reader.counts("sets", "set_counts").items())
    counts = reader.entry("set_counts")
    if not isinstance(counts, list) or len(counts) != 1:
        raise ModelFileError("whitening state: 'set_counts' must list one count")
    return {None: _integer(counts[0], "set_counts", 0)}


def _integer(value: object, name: str, minimum: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ModelFileError(
            f"whitening state: {name!r} must be an integer >= {minimum}: {value!r}"
        )
    return value


def _is_label(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _require_positive(arrays: Mapping[str, Doubles], *names: str) -> None:
    for name in names:
        if name in arrays and not (arrays[name] > 0).all():
            raise ModelFileError(f"whitening tensor {name!r} must be positive")
