"""Where a learner's work is done: in the compiled code on the CPU, or by another backend.

This module knows no backend but the compiled code; others have the face `Backend` and are imported
when a learner asks for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import ArrayLike

from icfl._validation import check_choice
from icfl.coding.coders import Coder, Pursuit
from icfl.exceptions import InputError, InputTypeError
from icfl.learning.minibatches import TrainingRows
from icfl.learning.stepper import Arrays, Stepper
from icfl.learning.threshold import RunningThreshold
from icfl.updates import Update

if TYPE_CHECKING:
    from icfl.learning.learner import Learner

__all__ = ["Backend", "backend_of", "check_backend", "on_accelerator"]

BACKENDS = ("auto", "rust", "torch")


class Backend(ABC):
    """What a backend offers to learners; an immutable value."""

    name: ClassVar[str]
    device: str | None

    @abstractmethod
    def check(self) -> None:
        """Raise the error that says why this machine cannot do the work, if it cannot."""

    @abstractmethod
    def on(self, device: str) -> Backend:
        """Return the same backend on that device."""

    @abstractmethod
    def training_rows(self, model: Learner, X: ArrayLike, *, reset: bool) -> TrainingRows:
        """Return the rows of a fit."""

    @abstractmethod
    def autoencoder(self, recipe: Any, fitted: Arrays, coder: Callable[[Arrays], Coder]) -> Stepper:
        """Return what trains an autoencoder by a recipe, from fitted arrays, which have a coder."""

    @abstractmethod
    def pursuit(
        self,
        coder: Pursuit,
        update: Update,
        fitted: Arrays,
        *,
        unit_norm: bool,
        coherence_limit: float | None,
        threshold: RunningThreshold | None = None,
    ) -> Stepper:
        """Return what learns by turns of pursuit and update, from fitted arrays."""

    @abstractmethod
    def fitted(self, model: Learner) -> Any:
        """Return the fitted learner with ``transform`` and its like on this backend."""


def backend_of(model: Learner) -> Backend | None:
    """Return the backend that a learner's parameters ask for; None is the compiled code.

    Raises
    ------
    InputError
        If `backend` or `device` is none that this learner and this machine have, or the two
        contradict each other.
    MissingDependencyError
        If the backend's package is not installed.
    """
    check_backend(model)
    if isinstance(model.backend, Backend):
        backend: Backend = model.backend
    elif _name(model) == "rust":
        return None
    else:
        value = import_module("icfl.torch").TorchBackend()
        backend = value if model.device is None else value.on(model.device)
    backend.check()
    return backend


def check_backend(model: Learner) -> None:
    """Refuse a `backend` or `device` that the learner cannot have on any machine."""
    known = model._backends
    if not isinstance(model.backend, Backend):
        check_choice(model.backend, "backend", BACKENDS)
    if model.device is not None and not isinstance(model.device, str):
        raise InputTypeError(f"device must be None or a string, got {model.device!r}")
    name = _name(model)
    if name not in known:
        raise InputError(
            f"backend must be {' or '.join(map(repr, ('auto', *known)))} for "
            f"{type(model).__name__}, got {model.backend!r}"
        )
    if name == "rust" and model.device not in (None, "cpu"):
        raise InputError(f"device must be None or 'cpu' with backend='rust', got {model.device!r}")
    if isinstance(model.backend, Backend) and model.device not in (None, model.backend.device):
        raise InputError(
            f"device must be None or that of backend, {model.backend.device!r}, "
            f"got {model.device!r}"
        )


def on_accelerator(model: Learner) -> bool:
    """Whether the parameters name a device other than the CPU."""
    of_value = model.backend.device if isinstance(model.backend, Backend) else None
    return (model.device or of_value or "cpu") != "cpu"


def _name(model: Learner) -> str:
    """Return the backend that is meant: "auto" leaves the CPU for a device only."""
    if isinstance(model.backend, Backend):
        return model.backend.name
    if model.backend != "auto":
        return model.backend
    return model._backends[0] if model.device in (None, "cpu") else "torch"
