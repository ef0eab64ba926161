"""Tensors and settings of a file, asked for one by one: each is checked when it is taken.

Whatever a file holds beyond what was asked for is refused (`Contents.nothing_else`): an unknown
tensor is a part of the model that the codes would lack.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import ModelFileError

__all__ = ["Contents"]


class Contents:
    """Named values of one file.

    Parameters
    ----------
    values : dict of str to object
        Arrays, numbers, strings.
    source : str
        What error messages call the file.
    """

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self._values = values
        self._source = source
        self._taken: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raise the error that names file, key, what was found and why it is refused."""
        found = self._values.get(key)
        told = repr(found)
        if isinstance(found, np.ndarray):
            told = f"shape {found.shape}" if found.ndim else repr(found.item())
        raise ModelFileError(f"{self._source}: {key} is {told}: {reason}")

    def refuse_if_present(self, keys: Collection[str], reason: str) -> None:
        """Refuse the file if it has any of these."""
        for key in keys:
            if key in self._values:
                raise ModelFileError(f"{self._source}: has {key}: {reason}")

    def nothing_else(self, ignored: Collection[str] = ()) -> None:
        """Refuse what nobody asked for."""
        unknown = sorted(self._values.keys() - self._taken - set(ignored))
        if unknown:
            raise ModelFileError(
                f"{self._source}: has {', '.join(unknown)}, which this layout does not know"
            )

    def text(self, key: str, choices: Collection[str], default: str | None = None) -> str:
        """Return one of the strings `choices`."""
        value = self._take(key, default)
        if not isinstance(value, str) or value not in choices:
            self.refuse(key, f"expected one of {', '.join(map(repr, choices))}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Return a boolean; also one that is kept as a tensor of one value."""
        value = self._take(key, default)
        value = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
        if not isinstance(value, bool):
            self.refuse(key, "expected true or false")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """Return a positive integer; also one that is kept as a tensor of one value."""
        value = self._take(key, default)
        value = value.item() if isinstance(value, np.ndarray) and value.shape == () else value
        if type(value) is not int or value < 1:
            self.refuse(key, "expected a positive integer")
        return value

    def counts(self, key: str) -> tuple[int, ...]:
        """Return positive integers that are kept as a vector."""
        value = self._take(key, None)
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind != "i":
            self.refuse(key, "expected a vector of integers")
        if value.size == 0 or value.min() < 1:
            self.refuse(key, "expected positive integers")
        return tuple(map(int, value))

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return values by name."""
        value = self._take(key, None)
        if not isinstance(value, Mapping):
            self.refuse(key, "expected values by name")
        return value

    def shape(self, key: str, axes: tuple[str, str]) -> tuple[int, int]:
        """Return the shape of a matrix, no axis of which is empty."""
        value = self._take(key, None)
        if not isinstance(value, np.ndarray) or value.ndim != 2 or value.size == 0:
            self.refuse(key, f"expected a matrix ({', '.join(axes)})")
        return value.shape[0], value.shape[1]

    def array(self, key: str, axes: Mapping[str, int]) -> NDArray[np.float32]:
        """Return a finite float32 array with these axes, by name and length."""
        value = self._take(key, None)
        shape = tuple(axes.values())
        if not isinstance(value, np.ndarray) or value.shape != shape:
            self.refuse(key, f"expected ({', '.join(axes)}) = {shape}")
        return self._finite(key, value)

    def matrix(self, key: str, axes: Mapping[str, int]) -> NDArray[np.float32]:
        """Return a matrix with these axes, also if it is stored the other way round.

        A square one does not show how it is stored: it is taken as the layout has it.
        """
        value = self._take(key, None)
        if isinstance(value, np.ndarray) and value.shape == tuple(axes.values())[::-1]:
            square = value.shape[0] == value.shape[1]
            return self._finite(key, value if square else value.T)
        return self.array(key, axes)

    def threshold(self, key: str, axes: Mapping[str, int]) -> NDArray[np.float32]:
        """Return thresholds of what a ReLU lets pass: below zero they are as good as zero."""
        return np.maximum(self.array(key, axes), np.float32(0))

    def _finite(self, key: str, value: NDArray[Any]) -> NDArray[np.float32]:
        if value.dtype.kind != "f":
            self.refuse(key, f"expected floats, got {value.dtype}")
        with np.errstate(over="ignore"):
            array = np.array(value, dtype=np.float32, order="C")
        if not np.isfinite(array).all():
            self.refuse(key, "has NaN or infinity")
        return array

    def _take(self, key: str, default: Any) -> Any:
        self._taken.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise ModelFileError(f"{self._source}: has no {key}")
        return value
