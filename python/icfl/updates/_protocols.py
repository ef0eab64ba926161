"""The faces of an update and of its state, and what states share."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Codes", "ReconstructionSums", "Update", "UpdateState", "random_directions"]

Codes: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""Rows in compressed form: indptr (n + 1,) int64, indices (nnz,) int32, data (nnz,) float32."""

ReconstructionSums: TypeAlias = tuple[float, float, NDArray[np.float64], NDArray[np.float64]]
"""Σ‖x - x̂‖² and Σ cosine(x, x̂) over rows x; mean and Σ(x - mean)² of their columns."""


class UpdateState(Protocol):
    """A dictionary that moves, as it stands after a step.

    Attributes
    ----------
    components : ndarray of shape (n_components, n_features), float32
        The atoms.
    bias : ndarray of shape (n_features,), float32
        The bias.
    n_replaced : int
        Atoms that the step to this state replaced.
    measured : ReconstructionSums or None
        How the codes of that step reproduced its mini-batch before anything moved, where the step
        found out on its way; None leaves it to the training loop, at the cost of decoding once.
    """

    components: NDArray[np.float32]
    bias: NDArray[np.float32]
    n_replaced: int
    measured: ReconstructionSums | None

    def active(self, progress: float | None) -> int:
        """Return how many atoms, from the first on, the next mini-batch is encoded with."""

    def rounds(self, n_iterations: int, atoms_per_iteration: int, progress: float | None) -> int:
        """Return how many of a pursuit's iterations the next mini-batch is encoded with.

        Parameters
        ----------
        n_iterations, atoms_per_iteration : int
            What codes are made with once the dictionary is learnt.
        progress : float or None
            Share of the planned steps that are done; None when nothing is planned.

        Returns
        -------
        int
            Between 1 and `n_iterations`.
        """

    def step(
        self,
        X: NDArray[np.float32],
        codes: Codes,
        *,
        step: int,
        rng: np.random.Generator,
        n_jobs: int | None,
        progress: float | None = None,
    ) -> UpdateState:
        """Return the state after a mini-batch and its codes; this one stays as it is.

        Ctrl-C may break a step off at any point.

        Parameters
        ----------
        X : ndarray of shape (n, n_features), float32
            Prepared rows.
        codes : tuple of indptr, indices, data
            Their codes, as compressed sparse rows.
        step : int
            Number of finished steps of the run.
        rng : numpy.random.Generator
            Source of all randomness of this step.
        n_jobs : int or None
            Threads.
        progress : float, optional
            Share of the planned steps that are done; None when nothing is planned.

        Returns
        -------
        UpdateState
            The state after the step.
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything but dictionary and bias that the next step depends on."""

    def set_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take back what `arrays` returned."""


class Update(Protocol):
    """An immutable value: a way to move dictionaries, with its options."""

    def start(
        self,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        unit_norm: bool,
        coherence_limit: float | None,
    ) -> UpdateState:
        """Begin with this dictionary.

        Parameters
        ----------
        components : ndarray of shape (n_components, n_features), float32
            Atoms to start from.
        bias : ndarray of shape (n_features,), float32
            Bias to start from.
        unit_norm : bool
            Whether atoms are kept at unit norm.
        coherence_limit : float or None
            Cosine above which atoms count as saying the same; None never replaces any.

        Returns
        -------
        UpdateState
            The dictionary, and what moves it.
        """


def random_directions(n: int, d: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `n` vectors drawn uniformly from the unit sphere, shape (n, d)."""
    directions = rng.standard_normal((n, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions.astype(np.float32)
