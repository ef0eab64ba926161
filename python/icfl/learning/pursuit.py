"""Learning by turns: rows are encoded with the dictionary held fixed, then it follows the codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl.coding.coders import BlockPursuit, Codes, gram_pays
from icfl.learning.stepper import Arrays, Moment, Outcome, raising_floating_point_error
from icfl.updates import UpdateState

__all__ = ["PursuitStepper"]


class PursuitStepper:
    """A coder and an update; its face is `icfl.learning.stepper.Stepper`.

    Parameters
    ----------
    coder : BlockPursuit
        How rows are encoded.
    update : UpdateState
        How the dictionary follows.
    batch_size : int
        Nominal size of a mini-batch; decides, whatever the size of the one at hand, whether the
        Gram matrix is built.
    n_jobs : int or None
        Threads.
    """

    def __init__(
        self, coder: BlockPursuit, update: UpdateState, *, batch_size: int, n_jobs: int | None
    ) -> None:
        self.update = update
        self._coder = coder
        self._batch_size = batch_size
        self._n_jobs = n_jobs
        self._after: UpdateState | None = None

    def advance(self, X: NDArray[np.float32], moment: Moment) -> Outcome:
        """Encode a mini-batch and form the next state of the update."""
        codes = self._encode(X, self._learning_coder(moment.progress))
        after = self.update.step(
            X,
            codes,
            step=moment.step,
            rng=moment.rng,
            n_jobs=self._n_jobs,
            progress=moment.progress,
        )
        # An update of the user's own need not have the attribute.
        measured = getattr(after, "measured", None) or _core.reconstruction_sums(
            X, codes, self.update.components, self.update.bias, self._n_jobs
        )
        self._after = after
        return Outcome.of_codes(codes, measured, after.n_replaced)

    def commit(self) -> None:
        """Put the next state in place."""
        if self._after is not None:
            self.update, self._after = self._after, None

    def fitted(self) -> Arrays:
        """Return dictionary and bias."""
        return {"components": self.update.components, "bias": self.update.bias}

    def encode(self, X: NDArray[np.float32]) -> Codes:
        """Encode with all iterations."""
        return self._encode(X, self._coder)

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return what codes stand for."""
        return _core.decode(codes, self.update.components, self.update.bias, self._n_jobs)

    def check_finite(self) -> None:
        """Raise FloatingPointError if the dictionary is not finite."""
        with raising_floating_point_error():
            _core.survey_rows(self.update.components, False, self._n_jobs)

    def grows(self, moment: Moment) -> bool:
        """Whether the update will learn with more iterations later."""
        full = self._learning_coder(1.0).n_iterations
        return self._learning_coder(moment.progress).n_iterations < full

    def arrays(self) -> Arrays:
        """Return the update's own arrays."""
        return self.update.arrays()

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        self.update.set_arrays(arrays)

    def _learning_coder(self, progress: float | None) -> BlockPursuit:
        coder = self._coder
        rounds = self.update.rounds(coder.n_iterations, coder.atoms_per_iteration, progress)
        return replace(coder, n_iterations=rounds)

    def _encode(self, X: NDArray[np.float32], coder: BlockPursuit) -> Codes:
        with raising_floating_point_error():
            dictionary = _core.Dictionary(self.update.components)
        use_gram = gram_pays(len(self.update.components), self._batch_size, coder.rounds)
        return coder.encode(dictionary, X, self.update.bias, use_gram=use_gram, n_jobs=self._n_jobs)
