"""Dictionary updates on a device; `icfl.updates` says what they do and when.

A state is immutable: `step` gives a new one. What is decided about single atoms (which nearly
coincide, which rows take their places) is decided in main memory from the dictionary and a few
numbers a row; rows themselves stay on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icfl import _core
from icfl.learning.stepper import Arrays, Moment
from icfl.torch.adam import Moments, move
from icfl.torch.arrays import to_device, to_host
from icfl.torch.distributed import Group
from icfl.updates import Adam
from icfl.updates._protocols import random_directions
from icfl.updates.adam import RESET_EVERY, one_of_each

__all__ = ["DeviceAdam", "DeviceUpdate", "normalised", "replace_coherent"]


class DeviceUpdate(ABC):
    """A dictionary on a device, as it stands after a step.

    Parameters
    ----------
    components : Tensor of shape (M, d)
        The atoms.
    bias : Tensor of shape (d,)
        The bias.
    unit_norm : bool
        Whether atoms are kept at unit norm.
    coherence_limit : float or None
        Cosine above which atoms count as saying the same; None never replaces any.
    group : Group
        Processes that learn together.
    """

    def __init__(
        self,
        components: Tensor,
        bias: Tensor,
        unit_norm: bool,
        coherence_limit: float | None,
        group: Group,
    ) -> None:
        self.components = components
        self.bias = bias
        self.n_replaced = 0
        self._unit_norm = unit_norm
        self._coherence_limit = coherence_limit
        self._group = group

    def active(self, progress: float | None) -> int:
        """Return how many atoms, from the first on, the next mini-batch is encoded with."""
        return len(self.components)

    @abstractmethod
    def rounds(self, n_iterations: int, atoms_per_iteration: int, progress: float | None) -> int:
        """Return how many of a pursuit's iterations the next mini-batch is encoded with."""

    @abstractmethod
    def step(
        self, x: Tensor, codes: Tensor, residual: Tensor, n_rows: int, moment: Moment
    ) -> DeviceUpdate:
        """Return the state after a mini-batch; this one stays as it is.

        Rows (n, d), their codes (n, M) and what these leave of them (n, d) are of this process;
        `n_rows` counts those of all.
        """

    @abstractmethod
    def arrays(self) -> Arrays:
        """Return everything but dictionary and bias that the next step depends on."""

    @abstractmethod
    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""

    @abstractmethod
    def to(self, device: torch.device) -> DeviceUpdate:
        """Return the same state on another device."""

    def _there(self, array: NDArray[Any]) -> Tensor:
        return to_device(array, self.components.device)


class DeviceAdam(DeviceUpdate):
    """A dictionary moved by `icfl.updates.Adam`."""

    def __init__(self, options: Adam, *args: Any) -> None:
        super().__init__(*args)
        self._rate = options.learning_rate
        self._moments = Moments.none(self._parameters())

    def rounds(self, n_iterations: int, atoms_per_iteration: int, progress: float | None) -> int:
        """Return `n_iterations`: the paper learns as it encodes."""
        return n_iterations

    def step(
        self, x: Tensor, codes: Tensor, residual: Tensor, n_rows: int, moment: Moment
    ) -> DeviceAdam:
        """Take one gradient step; every `RESET_EVERY` steps, replace coherent atoms."""
        gradients = {"components": codes.T @ residual, "bias": residual.sum(dim=0)}
        self._group.sum(gradients.values())
        for gradient in gradients.values():
            gradient *= -2 / n_rows
        moved, moments = move(self._parameters(), gradients, self._moments, self._rate)
        after = copy(self)
        after.n_replaced, after._moments = 0, moments
        after.components, after.bias = moved["components"], moved["bias"]
        if self._unit_norm:
            after.components = normalised(after.components)
        if self._coherence_limit is not None and (moment.step + 1) % RESET_EVERY == 0:
            # Atoms and moments are new tensors of this step.
            after.n_replaced = replace_coherent(
                after.components, moments, self._coherence_limit, moment.rng, self._group
            )
        return after

    def arrays(self) -> Arrays:
        """Return Adam's moments, atoms before the bias, and its step count."""
        first, second, steps = self._moments
        named = {
            "first_moment": torch.cat([first["components"].flatten(), first["bias"]]),
            "second_moment": torch.cat([second["components"].flatten(), second["bias"]]),
        }
        return to_host(named) | {"n_steps": np.array([steps], dtype=np.float64)}

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        split = self.components.numel()
        first, second = (
            {
                "components": flat[:split].view_as(self.components).clone(),
                "bias": flat[split:].clone(),
            }
            for flat in (self._there(arrays[name]) for name in ("first_moment", "second_moment"))
        )
        self._moments = Moments(first, second, int(arrays["n_steps"][0]))

    def to(self, device: torch.device) -> DeviceAdam:
        """Return the same state on another device."""
        there = copy(self)
        there.components, there.bias = self.components.to(device), self.bias.to(device)
        there.set_arrays(self.arrays())
        return there

    def _parameters(self) -> dict[str, Tensor]:
        return {"components": self.components, "bias": self.bias}


def replace_coherent(
    atoms: Tensor, moments: Moments, limit: float, rng: np.random.Generator, group: Group
) -> int:
    """Of each pair of atoms that nearly coincide, put a random direction in place of one.

    Parameters
    ----------
    atoms : Tensor of shape (M, d)
        The dictionary, changed in place.
    moments : Moments
        Adam's, by the name "components" those of the dictionary; replaced atoms begin anew.
    limit : float
        Cosine above which two atoms say the same.
    rng : Generator
        Source of the directions; of several processes, that of the first counts.
    group : Group
        The processes.

    Returns
    -------
    int
        Atoms that were replaced.
    """
    host = atoms.numpy(force=True)
    replaced = one_of_each(*_core.coherent_atoms(host, limit, None))
    if len(replaced):
        fresh = to_device(random_directions(len(replaced), host.shape[1], rng), atoms.device)
        group.share([fresh])
        places = to_device(replaced, atoms.device)
        atoms[places] = fresh
        moments.first["components"][places] = 0
        moments.second["components"][places] = 0
    return len(replaced)


def normalised(atoms: Tensor) -> Tensor:
    """Return atoms of unit norm; zero atoms stay zero."""
    norms = torch.linalg.vector_norm(atoms, dim=1, keepdim=True)
    return atoms / torch.where(norms > 0, norms, 1.0)
