"""Rows that are made or read as they are asked for, in their order, and never held all together.

`fit` and `partial_fit` of the learners take a `RowStream` where they take an array. Its rows are
independent draws, so that reading them in order is as good as shuffling them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from icfl.exceptions import InputTypeError

__all__ = ["RowStream"]


class RowStream(ABC):
    """A matrix (n_samples, n_features) of float32 of which only spans of rows can be had.

    Subclasses give `shape`, `read` and `head`. The same span has the same bits every time.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""

    @abstractmethod
    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return the rows from `start` to `stop`, 0 <= start <= stop <= n_samples.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        ndarray of shape (stop - start, n_features), float32
        """

    @abstractmethod
    def head(self, n_samples: int) -> RowStream:
        """Return a stream of the first `n_samples` rows, or of all if there are fewer."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> npt.NDArray[np.float32]:
        if not isinstance(rows, slice) or rows.step not in (None, 1):
            raise InputTypeError(f"a stream gives spans of rows, such as stream[0:100], not {rows}")
        start, stop, _ = rows.indices(len(self))
        return self.read(start, max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a stream makes its rows when asked for them: always a copy")
        return np.asarray(self[:], dtype=dtype)
