"""ICFL on a device: rows are encoded with the dictionary held fixed, then it follows the codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from icfl.coding.coders import BlockPursuit
from icfl.exceptions import InputError
from icfl.learning.stepper import Arrays, Moment, Outcome
from icfl.torch.adam import Tensors
from icfl.torch.arrays import to_device
from icfl.torch.backend import TorchBackend
from icfl.torch.encoding import decode
from icfl.torch.measure import column_moments, outcome
from icfl.torch.modes import without_modes
from icfl.torch.online import DeviceOnline
from icfl.torch.pursuit import Pursuit
from icfl.torch.stepper import DeviceStepper
from icfl.torch.updates import DeviceAdam, DeviceUpdate
from icfl.updates import Adam, Online

__all__ = ["UPDATES", "TorchPursuitStepper"]

UPDATES: dict[type[Any], Callable[..., DeviceUpdate]] = {Adam: DeviceAdam, Online: DeviceOnline}
"""Updates that this backend knows, by their values in `icfl.updates`."""


class TorchPursuitStepper(DeviceStepper):
    """A coder and an update on a device; its face is `icfl.learning.stepper.Stepper`.

    Parameters
    ----------
    coder : BlockPursuit
        How rows are encoded.
    update : Adam or Online
        How the dictionary follows.
    fitted : dict of str to ndarray
        Where it starts: "components" and "bias".
    backend : TorchBackend
        Where and how to compute.
    unit_norm : bool
        Whether atoms are kept at unit norm.
    coherence_limit : float or None
        Cosine above which atoms count as saying the same; None never replaces any.

    Raises
    ------
    InputError
        If the update is of another kind.
    """

    def __init__(
        self,
        coder: BlockPursuit,
        update: Any,
        fitted: Arrays,
        backend: TorchBackend,
        *,
        unit_norm: bool,
        coherence_limit: float | None,
    ) -> None:
        super().__init__(backend)
        if type(update) not in UPDATES:
            known = " or ".join(f"icfl.updates.{kind.__name__}" for kind in UPDATES)
            raise InputError(f"update must be {known} with backend='torch', got {update!r}")
        tensors = {name: to_device(array, self._device) for name, array in fitted.items()}
        self._group.share(tensors.values())
        self._host = fitted if self._group.size == 1 else None
        self._pursuit_coder = coder
        self.update = UPDATES[type(update)](
            update, tensors["components"], tensors["bias"], unit_norm, coherence_limit, self._group
        )
        self._after: DeviceUpdate | None = None

    @without_modes
    def advance(self, X: Any, moment: Moment) -> Outcome:
        """Encode a mini-batch and form the next state of the update."""
        x, update = self._rows(X), self.update
        coder = self._learning_coder(moment.progress)
        products = len(x) * (coder.n_iterations - 1)
        pursuit = Pursuit(update.components, update.bias, self._backend.gram_budget, products)
        codes = pursuit.encode(x, coder)
        residual = x - decode(codes, self._tensors())
        measured = column_moments(x, self._group, moment.step)
        after = update.step(x, codes, residual, measured.n_rows, moment)
        found = outcome(x, residual, codes, measured, self._group, after.n_replaced)
        if not math.isfinite(found.sums[0]):
            raise FloatingPointError("what codes leave of the rows is not finite")
        self._after = after
        return found

    def commit(self) -> None:
        """Put the next state in place."""
        if self._after is not None:
            self.update, self._after, self._host = self._after, None, None

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
        coder = self._pursuit_coder
        rounds = self.update.rounds(coder.n_iterations, coder.atoms_per_iteration, progress)
        return replace(coder, n_iterations=rounds)

    def _coder(self) -> BlockPursuit:
        return self._pursuit_coder

    def _tensors(self) -> Tensors:
        return {"components": self.update.components, "bias": self.update.bias}

    def _move_to(self, device: torch.device) -> None:
        self.update = self.update.to(device)
