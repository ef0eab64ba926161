"""Arrays from main memory to a device and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icfl.learning.stepper import Arrays
from icfl.torch.adam import Tensors

__all__ = ["device_of", "rows_on", "to_device", "to_host"]


def device_of(name: str | None, X: Any = None) -> torch.device:
    """Return the device of that name, else that of a tensor, else the CPU."""
    if name is not None:
        return torch.device(name)
    return X.device if isinstance(X, Tensor) else torch.device("cpu")


def rows_on(X: Any, device: torch.device) -> Tensor:
    """Return rows on a device; those that are there already are not copied."""
    if not isinstance(X, Tensor):
        # PyTorch has no read-only tensors, and warns of what might be written to.
        X = torch.from_numpy(X if X.flags.writeable else X.copy())
    return X.to(device)


def to_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return a float32 tensor with a copy of an array; float64 stays in the precision it has."""
    with torch.inference_mode(False):  # what is made in that mode could never have a gradient
        return torch.tensor(np.asarray(array), device=device)


def to_host(tensors: Tensors) -> Arrays:
    """Return copies as arrays, which share nothing with their tensors."""
    return {name: np.array(tensor.numpy(force=True)) for name, tensor in tensors.items()}
