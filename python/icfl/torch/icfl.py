"""ICFL on a device: rows are encoded with the dictionary held fixed, then it follows the codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icfl.coding.coders import OrthogonalPursuit, OwnThresholds, Pursuit
from icfl.exceptions import InputError
from icfl.learning.pursuit import (
    active_atoms,
    fitted_thresholds,
    grows,
    learning_coder,
    with_thresholds,
)
from icfl.learning.stepper import Arrays, Moment, Outcome
from icfl.learning.threshold import RunningThreshold, Seen, least_near, rows_apart
from icfl.torch.adam import Tensors
from icfl.torch.arrays import to_device
from icfl.torch.backend import TorchBackend
from icfl.torch.encoding import decode
from icfl.torch.measure import column_moments, outcome
from icfl.torch.memory import wide
from icfl.torch.modes import without_modes
from icfl.torch.online import DeviceOnline
from icfl.torch.orthogonal import pursuit_of
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
    coder : BlockPursuit or OrthogonalPursuit
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
    threshold : RunningThreshold, optional
        Those of the atoms, in the place of the coder's.

    Raises
    ------
    InputError
        If the update is of another kind.
    """

    def __init__(
        self,
        coder: Pursuit,
        update: Any,
        fitted: Arrays,
        backend: TorchBackend,
        *,
        unit_norm: bool,
        coherence_limit: float | None,
        threshold: RunningThreshold | None = None,
    ) -> None:
        super().__init__(backend)
        if type(update) not in UPDATES:
            known = " or ".join(f"icfl.updates.{kind.__name__}" for kind in UPDATES)
            raise InputError(f"update must be {known} with backend='torch', got {update!r}")
        arrays = {name: fitted[name] for name in ("components", "bias")}
        tensors = {name: to_device(array, self._device) for name, array in arrays.items()}
        self._group.share(tensors.values())
        self._host = fitted if self._group.size == 1 else None
        self._pursuit_coder = coder
        self.update = UPDATES[type(update)](
            update, tensors["components"], tensors["bias"], unit_norm, coherence_limit, self._group
        )
        self.threshold = threshold
        self._after: tuple[DeviceUpdate, RunningThreshold | None] | None = None

    @without_modes
    def advance(self, X: Any, moment: Moment) -> Outcome:
        """Encode a mini-batch and form the next state of the update."""
        x, update = self._rows(X), self.update
        threshold = self.threshold
        coder = learning_coder(self._pursuit_coder, update, moment.progress)
        n_active = active_atoms(update, moment.progress)
        if threshold is not None and moment.step == 0:
            threshold = threshold.begun(self._first_codes(x, update.components[:n_active]))
        codes = self._encode(x, with_thresholds(coder, threshold), n_active)
        residual = x - decode(codes, self._tensors())
        measured = column_moments(x, self._group, moment.step)
        after = update.step(x, codes, residual, measured.n_rows, moment)
        found = outcome(x, residual, codes, measured, self._group, after.n_replaced)
        if not math.isfinite(found.sums[0]):
            raise FloatingPointError("what codes leave of the rows is not finite")
        if threshold is not None:
            left = residual[:: rows_apart(measured.n_rows)]
            threshold = threshold.after(
                self._seen(codes, left, threshold, n_active, measured.n_rows)
            )
        self._after = after, threshold
        return found

    def commit(self) -> None:
        """Put the next state in place."""
        if self._after is not None:
            (self.update, self.threshold), self._after, self._host = self._after, None, None

    def fitted(self) -> Arrays:
        """Return dictionary and bias, and thresholds where atoms have their own."""
        return super().fitted() | fitted_thresholds(self._pursuit_coder, self.threshold)

    def grows(self, moment: Moment) -> bool:
        """Whether the update will learn with more iterations, or more atoms, later."""
        return grows(self._pursuit_coder, self.update, moment.progress)

    def arrays(self) -> Arrays:
        """Return the update's own arrays, and the thresholds'."""
        return self.update.arrays() | ({} if self.threshold is None else self.threshold.arrays())

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        self.update.set_arrays(arrays)
        if self.threshold is not None:
            self.threshold.set_arrays(arrays)

    def _encode(self, x: Tensor, coder: Pursuit | OwnThresholds, n_active: int) -> Tensor:
        """Encode with the first atoms; the others have codes of zero."""
        update = self.update
        products = len(x) * (coder.rounds - 1)
        atoms = update.components[:n_active]
        pursuit = pursuit_of(coder, atoms, update.bias, self._backend.gram_budget, products)
        return torch.nn.functional.pad(pursuit.encode(x), (0, len(update.components) - n_active))

    def _first_codes(self, x: Tensor, atoms: Tensor) -> NDArray[np.float32]:
        """Return what the first atom of each row of all processes would have as its code."""
        products = (x - self.update.bias) @ atoms.T
        if self._pursuit_coder.selection == "absolute":
            products = products.abs()
        parts = self._group.gather(products.amax(dim=1))
        return np.concatenate([part.numpy(force=True) for part in parts])

    def _seen(
        self, codes: Tensor, left: Tensor, threshold: RunningThreshold, n_active: int, n_rows: int
    ) -> Seen:
        """Return what the thresholds are set by, of the `n_rows` rows of all processes.

        `left` is the residual of some rows.
        """
        sizes = codes.to(wide(codes.device)).abs()
        sums = torch.stack([sizes.square().sum(), sizes.sum()])
        if self._pursuit_coder.selection == "positive":
            if isinstance(self._pursuit_coder, OrthogonalPursuit):
                left = left / threshold.multiples(left.square().sum(dim=1))[:, None]
            products = left @ self.update.components[:n_active].T
            limits = to_device(threshold.array[:n_active], left.device)
            near = [_just_below(signed, limits) for signed in (products, -products)]
            sums = torch.cat([sums, torch.stack(near)])
        uses = (codes != 0).sum(dim=0)
        self._group.sum([sums, uses])
        squares, total, *counts = sums.tolist()
        return Seen(squares, total, n_rows, uses.numpy(force=True), *map(int, counts))

    def _coder(self) -> Pursuit | OwnThresholds:
        return with_thresholds(self._pursuit_coder, self.threshold)

    def _tensors(self) -> Tensors:
        return {"components": self.update.components, "bias": self.update.bias}

    def _move_to(self, device: torch.device) -> None:
        self.update = self.update.to(device)


def _just_below(products: Tensor, limits: Tensor) -> Tensor:
    """Return how many of the products (n, M) are just below the limits (M,)."""
    return ((products > least_near(1.0) * limits) & (products <= limits)).sum()
