"""What both steppers share: where they compute, and what of them is seen in main memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icfl import _core
from icfl.coding.coders import Codes
from icfl.learning.stepper import Arrays
from icfl.torch.adam import Tensors
from icfl.torch.arrays import device_of, rows_on, to_host
from icfl.torch.backend import TorchBackend
from icfl.torch.encoding import Encoder, Piece
from icfl.torch.modes import without_modes

__all__ = ["DeviceStepper"]


class DeviceStepper(ABC):
    """A stepper whose state is on a device.

    Where the backend names no device the state follows the rows: to that of a tensor, which a fit
    shows once it begins.

    Parameters
    ----------
    backend : TorchBackend
        Where and how to compute.
    """

    def __init__(self, backend: TorchBackend) -> None:
        self._backend = backend
        self._group = backend.group
        self._device = device_of(backend.device)
        self._host: Arrays | None = None

    @abstractmethod
    def _tensors(self) -> Tensors:
        """Return the fitted arrays on their device."""

    @abstractmethod
    def _move_to(self, device: torch.device) -> None:
        """Take the state to another device."""

    @abstractmethod
    def _coder(self) -> Any:
        """Return the coder that goes with the fitted arrays."""

    def _place(self, X: Any) -> torch.device:
        """Return where rows are worked on: arrays come to the state, which follows tensors."""
        return device_of(self._backend.device, X) if isinstance(X, Tensor) else self._device

    def _rows(self, X: Any) -> Tensor:
        """Return prepared rows where the state is, which may follow them."""
        device = self._place(X)
        if device != self._device:
            self._move_to(device)
            self._device = device
        return rows_on(X, self._device)

    def fitted(self) -> Arrays:
        """Return copies of the fitted arrays in main memory, the same until the next commit."""
        if self._host is None:
            self._host = to_host(self._tensors())
        return self._host

    @without_modes
    def encode(self, X: Any) -> Codes:
        """Encode prepared rows as the fitted estimator would."""
        rows = rows_on(X, self._device)
        budget = self._backend.gram_budget
        encoder = Encoder(self._coder(), self._tensors(), budget, len(rows))
        return Piece.join([Piece.of(codes) for _, codes in encoder.encode(rows)]).on_host()

    def decode(self, codes: Codes) -> NDArray[np.float32]:
        """Return what codes stand for."""
        fitted = self.fitted()
        return _core.decode(codes, fitted["components"], fitted["bias"], None)

    def check_finite(self) -> None:
        """Raise FloatingPointError if something fitted is NaN or infinite."""
        for name, tensor in self._tensors().items():
            if not bool(tensor.isfinite().all()):
                raise FloatingPointError(f"{name} is not finite")
