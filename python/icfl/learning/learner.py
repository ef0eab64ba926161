"""The face that all learners share: one ``fit`` for arrays, one ``partial_fit`` for streams.

A learner says where it starts (`Learner._first_arrays`) and what learns (`Learner._start`); rows,
mini-batches, history, checkpoints and files are the same for all.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from icfl._validation import check_flag, check_n_jobs, is_tensor, learner_rows
from icfl.coding.model import DictionaryModel
from icfl.learning import runs, state
from icfl.learning.backends import Backend, backend_of, on_accelerator
from icfl.learning.history import Run
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.learning.parameters import check_parameters, mini_batch
from icfl.learning.stepper import Arrays, Stepper
from icfl.learning.training import Callback, Trainer, train

__all__ = ["Learner"]


class Learner(DictionaryModel):
    """Base of everything that learns a dictionary from mini-batches."""

    n_components: int | str
    unit_norm_inputs: bool
    batch_size: int | str
    max_iter: int | None
    max_steps: int | None
    init: str | ArrayLike
    random_state: int | np.random.RandomState | None
    backend: str | Backend
    device: str | None
    verbose: int
    tol: float | None
    validation_fraction: float
    checkpoint: str | os.PathLike[str] | None
    checkpoint_interval: float

    components_: NDArray[np.float32]
    bias_: NDArray[np.float32]
    input_scale_: float = 1.0

    _backends: ClassVar[tuple[str, ...]] = ("rust",)
    """Where a fit can run, the usual one first."""

    @abstractmethod
    def _check_own(self) -> None:
        """Refuse parameters of this learner that are out of range."""

    @abstractmethod
    def _first_arrays(self, survey: Survey, rows: TrainingRows, rng: np.random.Generator) -> Arrays:
        """Return the fitted arrays where learning starts."""

    @abstractmethod
    def _start(self, fitted: Arrays) -> Stepper:
        """Return what learns from here."""

    def _shapes(self, n_components: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every fitted array."""
        return {"components": (n_components, n_features), "bias": (n_features,)}

    def _scale_for(self, survey: Survey) -> float:
        """Return what rows are multiplied by, after unit norm if asked for."""
        return 1.0

    def _foresee(self, survey: Survey, fitted: Arrays) -> None:
        """Warn of data that learning will have trouble with from where it starts."""

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        resume: bool = False,
        callback: Callback | None = None,
    ) -> Any:
        """Learn a dictionary.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows. A memory map is read mini-batch by mini-batch. A stream, such as
            `icfl.datasets.PlantedStream`, is read in its order.
        y : ignored
            Present for scikit-learn's interface.
        resume : bool, default=False
            Go on from `checkpoint` if that file exists, else start at the beginning. The result has
            the bits of a fit that was never interrupted, so all parameters that have a say in it
            must be those of the checkpoint, `max_iter` and `max_steps` included: learning plans
            with them. To learn on beyond them, use `partial_fit`.
        callback : callable, optional
            Called after every mini-batch with a named tuple (step, n_steps, history).

        Returns
        -------
        self
            The estimator itself.

        Raises
        ------
        InputError
            If a parameter is out of range, a value of `X` is not finite, or the checkpoint belongs
            to other data or parameters.
        KeyboardInterrupt
            After Ctrl-C, within about a second. The estimator is then fitted as of the last
            finished mini-batch, the checkpoint is written, and `partial_fit` or
            ``fit(resume=True)`` go on from there.
        """
        rows = self._training_rows(X, reset=True)
        check_parameters(self)
        checkpoint = runs.open_checkpoint(self, rows, resume=resume)
        trainer = runs.resumed(self, checkpoint, rows) if checkpoint and resume else None
        if trainer is None:
            trainer = runs.started(self, rows)
        schedule = runs.schedule_of(self, trainer, rows)
        try:
            train(
                trainer,
                schedule,
                rows,
                tol=self.tol,
                checkpoint=checkpoint,
                callback=callback,
                verbose=self.verbose,
            )
        except KeyboardInterrupt:
            self._adopt(trainer, schedule.passes(trainer.run.step))
            if checkpoint is not None:
                trainer.write(checkpoint)
            raise
        self._adopt(trainer, schedule.passes(trainer.run.step))
        return self

    def partial_fit(self, X: ArrayLike, y: object = None) -> Any:
        """Learn from some more rows, in the order given.

        The first call starts a dictionary; further calls, also after ``fit``, go on from where
        learning stands. A model read from a file knows its dictionary but not the statistics that
        moved it: it moves on with fresh ones. Parameters of learning that were changed meanwhile
        take effect with the next ``fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or a stream of them, taken as one or more mini-batches of `batch_size` rows, the
            last one shorter.
        y : ignored
            Present for scikit-learn's interface.

        Returns
        -------
        self
            The estimator itself.

        Raises
        ------
        InputError
            If a parameter is out of range, or `X` has a value that is not finite or another width
            than before.
        """
        first = not hasattr(self, "components_")
        rows = self._training_rows(X, reset=first)
        check_parameters(self)
        trainer = runs.started(self, rows) if first else runs.continued(self, rows)
        try:
            for chunk in rows.chunks(mini_batch(self)):
                trainer.step(chunk)
            trainer.record()
        finally:
            self._adopt(trainer, getattr(self, "n_iter_", 0))
        return self

    def get_state(self) -> tuple[dict[str, Any], Arrays]:
        """Return parameters, counters and history as JSON can hold them, and the arrays.

        What moved the dictionary is left out: it can be many times as large.
        """
        check_is_fitted(self, "components_")
        return state.get_state(self)

    @classmethod
    def from_state(cls, config: dict[str, Any], tensors: Arrays) -> Any:
        """Return the fitted estimator that `get_state` described."""
        model = state.from_state(cls, config, tensors)
        check_parameters(model)
        return model

    def _unit_norm(self) -> bool:
        return check_flag(self.unit_norm_inputs, "unit_norm_inputs")

    def _scale(self) -> float:
        return self.input_scale_

    def _atoms_and_bias(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        check_is_fitted(self, "components_")
        return self.components_, self.bias_

    def _training_rows(self, X: ArrayLike, *, reset: bool) -> TrainingRows:
        backend = backend_of(self)
        if backend is not None:
            return backend.training_rows(self, X, reset=reset)
        checked = learner_rows(self, X, reset=reset)
        return TrainingRows(checked, self._unit_norm(), check_n_jobs(self.n_jobs))

    def _elsewhere(self, X: object) -> Any:
        """Arrays are encoded by the compiled code unless a device other than the CPU is named."""
        if not is_tensor(X) and not on_accelerator(self):
            return None
        backend = backend_of(self)
        if backend is None:
            return None
        check_is_fitted(self, "components_")
        return backend.fitted(self)

    def _fitted_arrays(self) -> Arrays:
        return {name: getattr(self, f"{name}_") for name in self._shapes(0, 0)}

    def _adopt(self, trainer: Trainer, n_iter: int) -> None:
        """Set the fitted attributes to where the trainer stands."""
        self._stepper: Stepper | None = trainer.stepper
        self._stepper_arrays: Arrays | None = None
        self._restore(trainer.stepper.fitted(), trainer.run, n_iter)

    def _restore(self, fitted: Arrays, run: Run, n_iter: int) -> None:
        for name, array in fitted.items():
            array.flags.writeable = False
            setattr(self, f"{name}_", array)
        self._run = run
        self.n_steps_ = run.step
        self.n_samples_seen_ = run.n_samples_seen
        self.n_iter_ = n_iter
        self.input_norm_ = run.input_norm
        self.input_scale_ = run.input_scale
        self.history_ = list(run.history)

    def __getstate__(self) -> dict[str, Any]:
        """Replace what learns, which is compiled, by its arrays."""
        known: dict[str, Any] = super().__getstate__().copy()
        stepper = known.get("_stepper")
        if stepper is not None:
            known |= {"_stepper": None, "_stepper_arrays": stepper.arrays()}
        return known
