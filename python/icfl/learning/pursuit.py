"""Learning by turns: rows are encoded with the dictionary held fixed, then it follows the codes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from icfl import _core
from icfl.coding.coders import (
    Codes,
    OrthogonalPursuit,
    OwnThresholds,
    Pursuit,
    codes_of,
    compiled,
    gram_pays,
    join_codes,
)
from icfl.learning.stepper import Arrays, Moment, Outcome, raising_floating_point_error
from icfl.learning.threshold import RunningThreshold, Seen, least_near, rows_apart
from icfl.updates import UpdateState

__all__ = ["PursuitStepper"]


class PursuitStepper:
    """A coder and an update; its face is `icfl.learning.stepper.Stepper`.

    Parameters
    ----------
    coder : BlockPursuit or OrthogonalPursuit
        How rows are encoded.
    update : UpdateState
        How the dictionary follows.
    batch_size : int
        Nominal size of a mini-batch; decides, whatever the size of the one at hand, whether the
        Gram matrix is built.
    n_jobs : int or None
        Threads.
    threshold : RunningThreshold, optional
        Those of the atoms, in the place of the coder's.
    """

    def __init__(
        self,
        coder: Pursuit,
        update: UpdateState,
        *,
        batch_size: int,
        n_jobs: int | None,
        threshold: RunningThreshold | None = None,
    ) -> None:
        self.update = update
        self.threshold = threshold
        self._coder = coder
        self._batch_size = batch_size
        self._n_jobs = n_jobs
        self._after: tuple[UpdateState, RunningThreshold | None] | None = None

    def advance(self, X: NDArray[np.float32], moment: Moment) -> Outcome:
        """Encode a mini-batch and form the next state of the update."""
        threshold = self.threshold
        n_active = active_atoms(self.update, moment.progress)
        if threshold is not None and moment.step == 0:
            threshold = threshold.begun(self._first_codes(X, n_active))
        shortened = learning_coder(self._coder, self.update, moment.progress)
        coder = with_thresholds(shortened, threshold)
        dictionary = self._dictionary(coder, n_active)
        codes = self._encode(X, coder, dictionary)
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
        if threshold is not None:
            threshold = threshold.after(self._seen(X, codes, dictionary, threshold))
        self._after = after, threshold
        return Outcome.of_codes(codes, measured, after.n_replaced)

    def commit(self) -> None:
        """Put the next state in place."""
        if self._after is not None:
            (self.update, self.threshold), self._after = self._after, None

    def fitted(self) -> Arrays:
        """Return dictionary and bias, and thresholds where atoms have their own."""
        fitted = {"components": self.update.components, "bias": self.update.bias}
        return fitted | fitted_thresholds(self._coder, self.threshold)

    def encode(self, X: NDArray[np.float32]) -> Codes:
        """Encode with all iterations."""
        coder = with_thresholds(self._coder, self.threshold)
        return self._encode(X, coder, self._dictionary(coder, len(self.update.components)))

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return what codes stand for."""
        return _core.decode(codes, self.update.components, self.update.bias, self._n_jobs)

    def check_finite(self) -> None:
        """Raise FloatingPointError if the dictionary is not finite."""
        with raising_floating_point_error():
            _core.survey_rows(self.update.components, False, self._n_jobs)

    def grows(self, moment: Moment) -> bool:
        """Whether the update will learn with more iterations, or more atoms, later."""
        return grows(self._coder, self.update, moment.progress)

    def arrays(self) -> Arrays:
        """Return the update's own arrays, and the thresholds'."""
        return self.update.arrays() | ({} if self.threshold is None else self.threshold.arrays())

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        self.update.set_arrays(arrays)
        if self.threshold is not None:
            self.threshold.set_arrays(arrays)

    def _dictionary(self, coder: Pursuit | OwnThresholds, n_active: int) -> _core.Dictionary:
        atoms = self.update.components[:n_active]
        with raising_floating_point_error():
            return compiled(coder, atoms)

    def _encode(
        self,
        X: NDArray[np.float32],
        coder: Pursuit | OwnThresholds,
        dictionary: _core.Dictionary,
    ) -> Codes:
        use_gram = gram_pays(dictionary.n_components, self._batch_size, coder.rounds)
        return coder.encode(dictionary, X, self.update.bias, use_gram=use_gram, n_jobs=self._n_jobs)

    def _first_codes(self, X: NDArray[np.float32], n_active: int) -> NDArray[np.float32]:
        """Return what the first atom of each row would have as its code."""
        bias, selection = self.update.bias, self._coder.selection
        dictionary = self._dictionary(self._coder, n_active)
        with raising_floating_point_error():
            return dictionary.encode_topk(X, bias, 1, cast(Any, selection), self._n_jobs)[2]

    def _seen(
        self,
        X: NDArray[np.float32],
        codes: Codes,
        dictionary: _core.Dictionary,
        threshold: RunningThreshold,
    ) -> Seen:
        """Return what the thresholds are set by."""
        sizes, n_components = np.abs(codes[2], dtype=np.float64), len(self.update.components)
        uses = np.bincount(codes[1], minlength=n_components)
        seen = Seen(float(sizes @ sizes), float(sizes.sum()), len(X), uses)
        if self._coder.selection != "positive":
            return seen
        every, common = rows_apart(len(X)), threshold.common
        some = codes_of(join_codes([codes], n_components)[::every])
        left = X[::every] - self.decode(some)
        if isinstance(self._coder, OrthogonalPursuit):
            left /= threshold.multiples(np.square(left).sum(axis=1))[:, None]
        with raising_floating_point_error():
            below, mirrored = (
                dictionary.encode_above(rows, None, least_near(common), self._n_jobs)[2]
                for rows in (left, -left)
            )
        return seen._replace(
            below=int((below <= common).sum()), mirrored=int((mirrored <= common).sum())
        )


def learning_coder(coder: Pursuit, update: Any, progress: float | None) -> Pursuit:
    """Return the coder with as many rounds as the update wants to learn with."""
    return coder.shortened(partial(update.rounds, progress=progress))


def with_thresholds(coder: Pursuit, threshold: RunningThreshold | None) -> Pursuit | OwnThresholds:
    """Return the coder with the thresholds in the place of its own, if there are any."""
    if threshold is None:
        return coder
    if isinstance(coder, OrthogonalPursuit):
        coder = replace(coder, threshold_slope=threshold.slope)
    return OwnThresholds.of(coder, threshold.array)


def fitted_thresholds(coder: Pursuit, threshold: RunningThreshold | None) -> Arrays:
    """Return what `with_thresholds` gives the coder, as fitted arrays."""
    if threshold is None:
        return {}
    slope = {"threshold_slope": np.array(threshold.slope, dtype=np.float32)}
    return {"threshold": threshold.array} | (slope if isinstance(coder, OrthogonalPursuit) else {})


def active_atoms(update: Any, progress: float | None) -> int:
    """Return with how many atoms the update learns; one of the user's own need not say."""
    active = getattr(update, "active", None)
    return len(update.components) if active is None else int(active(progress))


def grows(coder: Pursuit, update: Any, progress: float | None) -> bool:
    """Whether the update will learn with more rounds or atoms later."""
    now, full = (learning_coder(coder, update, share).rounds for share in (progress, 1.0))
    return now < full or active_atoms(update, progress) < len(update.components)
