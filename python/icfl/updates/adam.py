"""The update of the paper: codes held fixed, one Adam step on dictionary and bias.

The loss is the mean over the mini-batch of ‖x − Zᵀ-weighted atoms − b‖². Every 100 steps, of each
pair of atoms whose cosine exceeds the coherence limit, one is replaced by a vector drawn uniformly
from the unit sphere (Donhauser et al., ICML 2025). Adam itself is Kingma & Ba, ICLR 2015.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl._validation import check_number
from icfl.updates._protocols import Codes, ReconstructionSums, random_directions

__all__ = ["Adam"]

RESET_EVERY = 100
"""Steps between two looks for coherent atoms, as in the paper."""


@dataclass(frozen=True)
class Adam:
    """Adam on dictionary and bias with the codes held fixed.

    Parameters
    ----------
    learning_rate : float, default=1e-3
        Step size; the paper's is 5e-5 for 300,000 steps.

    Raises
    ------
    InputError
        If the step size is not positive and finite.

    Examples
    --------
    >>> import icfl
    >>> model = icfl.ICFL(512, update=icfl.updates.Adam(learning_rate=1e-3))
    """

    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_number(self.learning_rate, "learning_rate", low=0.0, closed=False)

    def start(
        self,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        unit_norm: bool,
        coherence_limit: float | None,
    ) -> AdamState:
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
        return AdamState(self, components, bias, unit_norm, coherence_limit)


class AdamState:
    """A dictionary moved by `Adam`; its face is `icfl.updates.UpdateState`."""

    def __init__(
        self,
        options: Adam,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        unit_norm: bool,
        coherence_limit: float | None,
    ) -> None:
        self.components = components
        self.bias = bias
        self.n_replaced = 0
        self.measured: ReconstructionSums | None = None
        self._coherence_limit = coherence_limit
        m, d = components.shape
        self._moments = _core.AdamUpdate(m, d, options.learning_rate, unit_norm)

    def active(self, progress: float | None) -> int:
        """Return the number of atoms: all learn from the first step on."""
        return len(self.components)

    def rounds(self, n_iterations: int, atoms_per_iteration: int, progress: float | None) -> int:
        """Return `n_iterations`: the paper learns as it encodes."""
        return n_iterations

    def step(
        self,
        X: NDArray[np.float32],
        codes: Codes,
        *,
        step: int,
        rng: np.random.Generator,
        n_jobs: int | None,
        progress: float | None = None,
    ) -> AdamState:
        """Take one gradient step; every `RESET_EVERY` steps, replace coherent atoms."""
        after = copy(self)
        after.n_replaced = 0
        after._moments, (after.components, after.bias), after.measured = self._moments.step(
            X, codes, self.components, self.bias, n_jobs
        )
        if self._coherence_limit is not None and (step + 1) % RESET_EVERY == 0:
            after._replace(self._coherence_limit, rng, n_jobs)
        return after

    def _replace(self, limit: float, rng: np.random.Generator, n_jobs: int | None) -> None:
        replaced = one_of_each(*_core.coherent_atoms(self.components, limit, n_jobs))
        if len(replaced):
            components = self.components.copy()
            components[replaced] = random_directions(len(replaced), components.shape[1], rng)
            self.components = components
            self._moments.reset(replaced)
        self.n_replaced = len(replaced)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return Adam's moments and its step count."""
        return dict(self._moments.arrays())

    def set_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take back what `arrays` returned."""
        self._moments.set_arrays(arrays)


def one_of_each(lower: NDArray[np.int64], higher: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return atoms such that every pair has lost one: the higher, unless the lower is gone."""
    gone: set[int] = set()
    for i, j in zip(lower.tolist(), higher.tolist(), strict=True):
        if i not in gone and j not in gone:
            gone.add(j)
    return np.array(sorted(gone), dtype=np.int64)
