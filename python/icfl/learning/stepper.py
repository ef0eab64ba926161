"""What learns from mini-batches: the face that the training loop knows.

A stepper holds everything that moves: the fitted arrays (dictionary, bias, for an autoencoder also
its encoder) and the statistics that move them. The loop knows neither how rows are encoded nor how
the dictionary follows, nor on which device.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from icfl.coding.coders import Codes
from icfl.updates import ReconstructionSums

__all__ = ["Arrays", "Moment", "Outcome", "Stepper", "raising_floating_point_error"]

Arrays = dict[str, NDArray[Any]]


class Moment(NamedTuple):
    """When in a run a step is taken.

    Attributes
    ----------
    step : int
        Finished steps of the run.
    planned : int or None
        Steps the run will have; None when nothing is planned.
    rng : numpy.random.Generator
        Source of all randomness of this step.
    silent_for : ndarray of shape (n_components,), int64
        Rows seen since each atom was last part of a code, or in all if it never was.
    window : int
        Rows without an activation after which an atom counts as dead.
    """

    step: int
    planned: int | None
    rng: np.random.Generator
    silent_for: NDArray[np.int64]
    window: int

    @property
    def progress(self) -> float | None:
        """Share of the planned steps that are done; None when nothing is planned."""
        return self.step / self.planned if self.planned else None


class Outcome(NamedTuple):
    """What a step found out about its mini-batch, before anything moved.

    Attributes
    ----------
    n_rows : int
        Rows of the mini-batch.
    sums : ReconstructionSums
        How the codes reproduce them.
    active : ndarray, int32
        Atoms with an activation, in any order and as often as it may be.
    n_nonzero : int
        Non-zeros in the codes.
    n_replaced : int
        Atoms that the step replaces.
    """

    n_rows: int
    sums: ReconstructionSums
    active: NDArray[np.int32]
    n_nonzero: int
    n_replaced: int

    @classmethod
    def of_codes(cls, codes: Codes, sums: ReconstructionSums, n_replaced: int = 0) -> Outcome:
        """Count a mini-batch's codes; a zero among them is not an activation."""
        active = codes[1][codes[2] != 0]
        return cls(len(codes[0]) - 1, sums, active, len(active), n_replaced)


class Stepper(Protocol):
    """Something that learns from one mini-batch after the other."""

    def advance(self, X: Any, moment: Moment) -> Outcome:
        """Learn from prepared rows, shape (n, n_features), without showing it yet.

        Ctrl-C may break it off at any point; what the stepper holds is then as before.
        FloatingPointError says that something fitted is NaN or infinite.
        """

    def commit(self) -> None:
        """Make the last `advance` count. This is quick."""

    def fitted(self) -> Arrays:
        """Return the fitted arrays by the names of the estimator's attributes, without "_".

        The same objects until the next `commit`; "components" and "bias" are among them.
        """

    def encode(self, X: Any) -> Codes:
        """Encode prepared rows as the fitted estimator would."""

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return what codes stand for."""

    def check_finite(self) -> None:
        """Raise FloatingPointError if something fitted is NaN or infinite."""

    def grows(self, moment: Moment) -> bool:
        """Whether later steps will learn with another number of non-zeros than that at `moment`."""

    def arrays(self) -> Arrays:
        """Return everything but the fitted arrays that the next step depends on."""

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""


@contextlib.contextmanager
def raising_floating_point_error() -> Iterator[None]:
    """Turn what the compiled code says of values that are not finite into FloatingPointError."""
    try:
        yield
    except ValueError as error:
        raise FloatingPointError(str(error)) from error
