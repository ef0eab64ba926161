"""Training on the CPU: the compiled code does a whole step, with work for k latents a row only.

No array of shape (n, M) or (n · k, d) is made, sums run in a fixed order, and a step that is cut
short has changed nothing: it is formed beside the state and then put in its place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl.autoencoders.recipe import LARGEST_GRADIENT, Recipe
from icfl.coding.coders import Coder, Codes
from icfl.learning.stepper import Arrays, Moment, Outcome, raising_floating_point_error

__all__ = ["CompiledStepper"]


class CompiledStepper:
    """An autoencoder that learns on the CPU; its face is `icfl.learning.stepper.Stepper`.

    Parameters
    ----------
    recipe : Recipe
        How it is trained.
    fitted : dict of str to ndarray
        Where it starts: "components", "bias", "encoder", "encoder_bias" and, where the activation
        has one, "threshold".
    coder : callable
        Gives the coder that goes with fitted arrays.
    n_jobs : int or None
        Threads.
    """

    def __init__(
        self,
        recipe: Recipe,
        fitted: Arrays,
        coder: Callable[[Arrays], Coder],
        n_jobs: int | None,
    ) -> None:
        self.recipe = recipe
        self._coder = coder
        self._n_jobs = n_jobs
        self._names = tuple(fitted)
        self._fitted: Arrays | None = fitted
        n_components, n_features = fitted["components"].shape
        self._core = _core.Autoencoder(
            n_components,
            n_features,
            recipe.activation,
            list(recipe.widths),
            recipe.aux_coefficient,
            LARGEST_GRADIENT,
        )
        self._core.set_parameters(fitted)

    def advance(self, X: NDArray[np.float32], moment: Moment) -> Outcome:
        """Encode a mini-batch, form gradients, and move everything one step of Adam."""
        recipe, dead = self.recipe.at(moment), self.recipe.dead(moment)
        with raising_floating_point_error():
            codes, sums = self._core.advance(
                X,
                recipe.n_nonzero,
                recipe.rate(moment),
                dead,
                recipe.k_aux_of(len(dead)),
                recipe.threshold_memory(moment),
                self._n_jobs,
            )
        return Outcome.of_codes(codes, sums)

    def commit(self) -> None:
        """Put the moved arrays in place."""
        self._core.commit()
        self._fitted = None

    def fitted(self) -> Arrays:
        """Return copies of the arrays as of the last `commit`."""
        if self._fitted is None:
            parameters = self._core.parameters()
            self._fitted = {
                name: np.asarray(parameters[name], dtype=np.float32) for name in self._names
            }
        return self._fitted

    def encode(self, X: NDArray[np.float32]) -> Codes:
        """Encode as the fitted estimator would."""
        fitted = self.fitted()
        dictionary = _core.Dictionary(fitted["encoder"], fitted["encoder_bias"])
        coder = self._coder(fitted)
        return coder.encode(dictionary, X, fitted["bias"], use_gram=False, n_jobs=self._n_jobs)

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return what codes stand for."""
        fitted = self.fitted()
        return _core.decode(codes, fitted["components"], fitted["bias"], self._n_jobs)

    def check_finite(self) -> None:
        """Nothing to do: a step whose gradients are not finite has failed by itself."""

    def grows(self, moment: Moment) -> bool:
        """Whether later steps will learn with more non-zeros."""
        return self.recipe.n_nonzero_at(moment) < self.recipe.n_nonzero

    def arrays(self) -> Arrays:
        """Return Adam's moments and the step count."""
        return dict(self._core.arrays())

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        self._core.set_arrays(arrays)
