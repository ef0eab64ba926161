"""Mini-batches: which rows make up the step with a given number, and the rows themselves.

Everything random is drawn from generators seeded with (seed, purpose, index), so the mini-batch of
a step is a function of the seed and the step number alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._streams import RowStream
from icfl._validation import CHUNK_ROWS, Floats, iter_chunks, native_floats
from icfl.coding.coders import input_error
from icfl.coding.model import prepare

__all__ = ["Purpose", "Schedule", "Survey", "TrainingRows", "generator"]

RECORD_STEPS = 50
"""Fewest steps between two entries of the history, except at the end of a pass."""
RECORDS_PER_PASS = 20
"""Most entries of the history in one pass."""
SURVEYED = 131_072
"""Most rows of a stream that are surveyed: the mean norm is then known to a third of a percent of
its spread, and a look at all rows could cost as much as learning from them."""
MOST_HELD_BACK = 8192
"""Most rows held back, whatever the fraction: more would not make the estimate much better."""


class Purpose:
    """What a generator is for; part of its seed."""

    INIT, SHUFFLE, STEP, HOLD_BACK = range(4)


def generator(seed: int, purpose: int, index: int = 0) -> np.random.Generator:
    """Return the generator of a purpose; the same for the same arguments."""
    return np.random.default_rng(np.random.SeedSequence([seed, purpose, index]))


class Survey(NamedTuple):
    """What one look at all rows finds.

    Attributes
    ----------
    mean : ndarray of shape (d,), float32
        Mean of the prepared rows.
    mean_norm : float
        Mean norm of the rows before they were prepared.
    mean_square : float
        Mean squared norm of the prepared rows.
    """

    mean: NDArray[np.float32]
    mean_norm: float
    mean_square: float

    def anisotropy(self, origin: NDArray[np.float32]) -> float:
        """Return ‖μ − origin‖ / ‖σ‖ of the prepared rows, as `icfl.metrics.anisotropy` for zero."""
        mean = self.mean.astype(np.float64)
        spread = self.mean_square - float(mean @ mean)
        shift = float(np.linalg.norm(mean - origin))
        return shift / math.sqrt(spread) if spread > 0 else 0.0

    def scaled(self, scale: float) -> Survey:
        """Return what would have been found with rows prepared at this scale."""
        mean = (self.mean * np.float32(scale)).astype(np.float32)
        return Survey(mean, self.mean_norm, self.mean_square * scale**2)


class TrainingRows:
    """The rows of a fit, prepared as they are asked for.

    Parameters
    ----------
    X : ndarray of shape (n, d), floating, integer or boolean, or RowStream
        All rows; a memory map is read row by row, a stream span by span.
    unit_norm : bool
        Whether rows are scaled to unit norm.
    n_jobs : int or None
        Threads.

    Attributes
    ----------
    n_processes : int
        Processes that learn together, each from as many rows.
    in_order : bool
        Whether rows are asked for in spans, one after the other, as a stream gives them.
    """

    n_processes = 1

    def __init__(self, X: NDArray[Any] | RowStream, unit_norm: bool, n_jobs: int | None) -> None:
        self.X: Any = X
        self.in_order = isinstance(X, RowStream)
        self.unit_norm = unit_norm
        self.scale = 1.0
        self.n_jobs = n_jobs
        self._surveyed = False

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_features(self) -> int:
        """Width of a row."""
        return int(self.X.shape[1])

    @property
    def n_within_reach(self) -> int:
        """Rows from which some are chosen to start with: all, but of a stream the first ones."""
        return min(len(self), SURVEYED) if self.in_order else len(self)

    def take(self, indices: NDArray[Any]) -> NDArray[np.float32]:
        """Return the prepared rows at increasing `indices`: in that order a disk is read best."""
        if self.in_order:
            return self._prepared(self._from_spans(indices), first_row=int(indices[0]))
        return self._prepared(native_floats(self.X[indices]))

    def _from_spans(self, indices: NDArray[Any]) -> Floats:
        """Return rows of a stream: a mini-batch is one span, first atoms lie in many."""
        first, last = int(indices[0]), int(indices[-1]) + 1
        if last - first == len(indices):
            return self.X[first:last]  # type: ignore[no-any-return]
        rows = np.empty((len(indices), self.n_features), dtype=np.float32)
        for start in range(first, last, CHUNK_ROWS):
            here = slice(*np.searchsorted(indices, (start, start + CHUNK_ROWS)))
            if here.start < here.stop:
                span = self.X[start : start + CHUNK_ROWS]
                rows[here] = span[indices[here] - start]
        return rows

    def batch(self, indices: NDArray[Any]) -> Any:
        """Return the prepared rows at increasing `indices` as a stepper takes them."""
        return self.take(indices)

    def chunks(self, n_rows: int) -> Iterator[Any]:
        """Yield all rows prepared, in their order, `n_rows` at a time."""
        for place, chunk in iter_chunks(self.X, n_rows):
            yield self._prepared(chunk, first_row=place.start)

    def sample(self, n_rows: int) -> NDArray[np.float32]:
        """Return at most `n_rows` rows, evenly spaced over those within reach."""
        count = min(n_rows, self.n_within_reach)
        return self.take(np.arange(count) * self.n_within_reach // count)

    def survey(self) -> Survey:
        """Read all rows once, which finds any that is not finite before the work begins.

        Of a stream only the first ones are read; the others are looked at when their turn comes.
        """
        total = np.zeros(self.n_features)
        norms = squares = 0.0
        X = self.X.head(SURVEYED) if self.in_order else self.X
        for place, chunk in iter_chunks(X):
            try:
                block_total, block_norms = _core.survey_rows(chunk, self.unit_norm, self.n_jobs)
            except ValueError as error:
                raise input_error(error, place.start) from error
            total += block_total
            norms += float(block_norms.sum(dtype=np.float64))
            prepared = block_norms > 0 if self.unit_norm else block_norms
            squares += float(np.square(prepared, dtype=np.float64).sum())
        self._surveyed = not self.in_order
        n = len(X)
        return Survey((total / n).astype(np.float32), norms / n, squares / n).scaled(self.scale)

    def _prepared(self, rows: Floats, first_row: int = 0) -> NDArray[np.float32]:
        """Return some of the rows prepared; those that are so already are not copied."""
        plain = not self.unit_norm and self.scale == 1.0
        if self._surveyed and plain and rows.dtype == np.float32:
            return np.ascontiguousarray(rows, dtype=np.float32)
        return prepare(rows, self.unit_norm, self.n_jobs, first_row=first_row, scale=self.scale)[0]


class Schedule:
    """Which rows make up the mini-batch of a step, and when a fit ends.

    A pass deals all rows into ⌈n / batch_size⌉ mini-batches of nearly equal size, in a new order
    each time. The order of one pass is in memory, 4 bytes a row.

    Parameters
    ----------
    n_rows : int
        Rows of the data.
    batch_size : int
        Most rows of a mini-batch.
    max_iter : int or None
        Most passes.
    max_steps : int or None
        Most steps.
    held_back : float
        Share of the rows that are kept out of training, at most `MOST_HELD_BACK` rows.
    seed : int
        Seed of the run.
    in_order : bool, default=False
        Whether rows are dealt in their own order in every pass, and the first ones held back.
    """

    def __init__(
        self,
        n_rows: int,
        *,
        batch_size: int,
        max_iter: int | None,
        max_steps: int | None,
        held_back: float,
        seed: int,
        in_order: bool = False,
    ) -> None:
        self._seed = seed
        self._in_order = in_order
        self._train, self.validation = self._split(n_rows, held_back)
        self.n_rows = n_rows - len(self.validation)
        self.batches = math.ceil(self.n_rows / batch_size)
        limits = [max_steps, None if max_iter is None else max_iter * self.batches]
        self.n_steps = min(limit for limit in limits if limit is not None)
        self._record_every = max(RECORD_STEPS, math.ceil(self.batches / RECORDS_PER_PASS))
        self._shuffled: tuple[int, NDArray[Any]] | None = None

    def indices(self, step: int) -> NDArray[Any]:
        """Return the increasing row numbers of the mini-batch of a step."""
        epoch, batch = divmod(step, self.batches)
        first, last = (i * self.n_rows // self.batches for i in (batch, batch + 1))
        if self._in_order:
            return len(self.validation) + np.arange(first, last)
        order = self._order(epoch)
        chosen = order[first:last]
        return np.sort(chosen if self._train is None else self._train[chosen])

    def passes(self, step: int) -> int:
        """Return the number of passes begun when `step` steps are finished."""
        return math.ceil(step / self.batches)

    def records(self, step: int) -> bool:
        """Whether the history gets an entry when `step` steps are finished."""
        within = step % self.batches
        return within == 0 or within % self._record_every == 0 or step == self.n_steps

    def _order(self, epoch: int) -> NDArray[Any]:
        if self._shuffled is None or self._shuffled[0] != epoch:
            order = np.arange(self.n_rows, dtype=_index_type(self.n_rows))
            generator(self._seed, Purpose.SHUFFLE, epoch).shuffle(order)
            self._shuffled = (epoch, order)
        return self._shuffled[1]

    def _split(self, n_rows: int, share: float) -> tuple[NDArray[Any] | None, NDArray[Any]]:
        count = min(math.ceil(share * n_rows), MOST_HELD_BACK, n_rows - 1)
        if self._in_order:
            return None, np.arange(count)
        order = np.arange(n_rows if count else 0, dtype=_index_type(n_rows))
        generator(self._seed, Purpose.HOLD_BACK).shuffle(order)
        return (np.sort(order[count:]) if count else None), np.sort(order[:count])


def _index_type(n_rows: int) -> type[np.uint32] | type[np.int64]:
    return np.uint32 if n_rows <= np.iinfo(np.uint32).max else np.int64
