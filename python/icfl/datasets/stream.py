"""Planted samples by the million: drawn chunk by chunk as they are asked for, never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.utils import Bunch

from icfl._streams import RowStream
from icfl._validation import check_count
from icfl.exceptions import InputError

if TYPE_CHECKING:
    from icfl.datasets.planted import PlantedModel

__all__ = ["PlantedStream"]


@dataclass(frozen=True, eq=False)
class PlantedStream(RowStream):
    """Samples of a planted dictionary, as many as are wanted; `PlantedModel.stream` makes one.

    ``fit`` and ``partial_fit`` of every learner take it in the place of an array and read it in
    order, which for independent samples is as good as a shuffle. What it needs of memory is a
    chunk. What takes arrays alone, such as ``transform``, takes ``stream.chunk(i).X`` or a span
    ``stream[0:100_000]``.

    Chunk i is a function of the seed, the chunk size and i alone: it has the same bits whatever was
    drawn before it, for any number of threads, and in streams of any length.

    Attributes
    ----------
    model : PlantedModel
        What the samples are drawn from, with the true ``components``.
    n_samples : int
    chunk_size : int
        Samples of a chunk; the last one may be shorter.
    seed : tuple of int
    n_jobs : int or None
        Threads.
    """

    model: PlantedModel
    n_samples: int
    chunk_size: int
    seed: tuple[int, ...]
    n_jobs: int | None = None
    # The last chunk that was read from, and its rows: mini-batches lie within it or begin in it.
    _held: list[tuple[int, npt.NDArray[np.float32]]] = field(
        default_factory=list, init=False, repr=False
    )

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_features)."""
        return self.n_samples, int(self.model.components.shape[1])

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return -(-self.n_samples // self.chunk_size)

    def chunk(self, i: int) -> Bunch:
        """Draw chunk i, counted from 0, with what is true of it.

        Parameters
        ----------
        i : int

        Returns
        -------
        sklearn.utils.Bunch
            ``X``, ndarray of shape (at most chunk_size, n_features), float32; ``codes``, csr_array
            of shape (at most chunk_size, n_components), float32.

        Raises
        ------
        InputError
            If the stream has no such chunk.
        """
        if check_count(i, "i", minimum=0) >= self.n_chunks:
            raise InputError(f"i must be below {self.n_chunks}, the number of chunks, got {i}")
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(i,)))
        # Always a whole chunk, so that a longer stream begins with the samples of a shorter one.
        codes = self.model._codes(self.chunk_size, rng)
        X = self.model._rows(codes, rng, self.n_jobs)
        kept = min(self.chunk_size, self.n_samples - i * self.chunk_size)
        return Bunch(X=X[:kept], codes=codes if kept == self.chunk_size else codes[:kept])

    def chunks(self) -> Iterator[Bunch]:
        """Yield every chunk in order."""
        return map(self.chunk, range(self.n_chunks))

    def read(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return the rows from `start` to `stop`.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        ndarray of shape (stop - start, n_features), float32
        """
        rows = np.empty((stop - start, self.shape[1]), dtype=np.float32)
        at = start
        while at < stop:
            i, first = divmod(at, self.chunk_size)
            part = self._rows_of(i)[first : first + stop - at]
            rows[at - start : at - start + len(part)] = part
            at += len(part)
        return rows

    def head(self, n_samples: int) -> PlantedStream:
        """Return a stream of the first `n_samples` samples, or of all if there are fewer."""
        return replace(self, n_samples=min(n_samples, self.n_samples))

    def _rows_of(self, i: int) -> npt.NDArray[np.float32]:
        held = self._held[:]
        if held and held[0][0] == i:
            return held[0][1]
        X: npt.NDArray[np.float32] = self.chunk(i).X
        self._held[:] = [(i, X)]
        return X
