"""Training of autoencoders on a device, every activation of `icfl.autoencoders.recipe`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from icfl.autoencoders.recipe import COHERENCE_LIMIT, LARGEST_GRADIENT, Recipe
from icfl.coding.coders import Coder
from icfl.learning.stepper import Arrays, Moment, Outcome
from icfl.torch.adam import Moments, Tensors, move
from icfl.torch.arrays import to_device, to_host
from icfl.torch.backend import TorchBackend
from icfl.torch.losses import Products, look
from icfl.torch.measure import column_moments, outcome
from icfl.torch.modes import without_modes
from icfl.torch.stepper import DeviceStepper
from icfl.torch.updates import normalised, replace_coherent

__all__ = ["TorchAutoencoderStepper"]


class _State(NamedTuple):
    """What moves: parameters with Adam's moments, and the running threshold if there is one."""

    parameters: Tensors
    moments: Moments
    threshold: Tensor | None

    def to(self, device: torch.device) -> _State:
        def there(tensors: Tensors) -> Tensors:
            return {name: tensor.to(device) for name, tensor in tensors.items()}

        first, second, steps = self.moments
        threshold = None if self.threshold is None else self.threshold.to(device)
        moments = Moments(there(first), there(second), steps)
        return _State(there(self.parameters), moments, threshold)


class TorchAutoencoderStepper(DeviceStepper):
    """An autoencoder that learns on a device; its face is `icfl.learning.stepper.Stepper`.

    Parameters
    ----------
    recipe : Recipe
        How it is trained.
    fitted : dict of str to ndarray
        Where it starts: "components", "bias", but for pursuit "encoder" and "encoder_bias", and
        "threshold" where the activation has one.
    coder : callable
        Gives the coder that goes with fitted arrays.
    backend : TorchBackend
        Where and how to compute.
    """

    def __init__(
        self,
        recipe: Recipe,
        fitted: Arrays,
        coder: Callable[[Arrays], Coder],
        backend: TorchBackend,
    ) -> None:
        super().__init__(backend)
        self.recipe = recipe
        self._coder_of = coder
        tensors = {name: to_device(array, self._device) for name, array in fitted.items()}
        self._group.share(tensors.values())
        self._host = fitted if self._group.size == 1 else None
        threshold = tensors.pop("threshold", None)
        if recipe.activation == "jump_relu" and threshold is not None:
            with torch.inference_mode(False):
                tensors["log_threshold"], threshold = threshold.log(), None
        self._state = _State(tensors, Moments.none(tensors), threshold)
        self._next: _State | None = None
        self._products = Products(backend.precision == "bfloat16")
        self._look = torch.compile(look) if backend.compile else look

    @without_modes
    def advance(self, X: Any, moment: Moment) -> Outcome:
        """Encode a mini-batch, form gradients, and from them the next state."""
        x, group, state = self._rows(X), self._group, self._state
        recipe = self.recipe.at(moment)
        measured = column_moments(x, group, moment.step)
        leaves = {name: value.requires_grad_() for name, value in _detached(state).items()}
        with torch.enable_grad():
            found = self._look(
                recipe,
                leaves,
                x,
                self.recipe.dead(moment),
                x.new_tensor(measured.total),
                measured.n_rows,
                group,
                self._products,
            )
        gradients = self._gradients(found.loss, leaves)
        parameters, moments = move(state.parameters, gradients, state.moments, recipe.rate(moment))
        parameters["components"] = normalised(parameters["components"])
        n_replaced = 0
        if recipe.replaces(moment):  # in tensors that are new in this step
            atoms = parameters["components"]
            n_replaced = replace_coherent(atoms, moments, COHERENCE_LIMIT, moment.rng, group)
        threshold = self._threshold(found.smallest, recipe.threshold_memory(moment))
        self._next = _State(parameters, moments, threshold)
        return outcome(x, found.residual, found.codes, measured, group, n_replaced)

    def _gradients(self, loss: Tensor, leaves: Tensors) -> Tensors:
        """Return gradients as Adam gets them: of all processes, limited, finite.

        That of the decoder loses its part along the rows, which unit norm would undo.
        """
        given = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        gradients = {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for (name, leaf), gradient in zip(leaves.items(), given, strict=True)
        }
        self._group.sum(gradients.values())
        atoms, by_atoms = leaves["components"].detach(), gradients["components"]
        along = (by_atoms * atoms).sum(dim=1, keepdim=True)
        gradients["components"] = torch.addcmul(by_atoms, along, atoms, value=-1)
        norms = [torch.linalg.vector_norm(gradient) for gradient in gradients.values()]
        norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        if not np.isfinite(norm):
            raise FloatingPointError("the gradients are not finite")
        if norm > LARGEST_GRADIENT:
            for gradient in gradients.values():
                gradient *= LARGEST_GRADIENT / norm
        return gradients

    def _threshold(self, smallest: Tensor, memory: float) -> Tensor | None:
        before = self._state.threshold
        if before is None:
            return None
        return before + (smallest.to(before) - before) / memory

    def commit(self) -> None:
        """Put the next state in place."""
        if self._next is not None:
            self._state, self._next, self._host = self._next, None, None

    def grows(self, moment: Moment) -> bool:
        """Whether later steps will learn with another number of non-zeros."""
        return self.recipe.n_nonzero_at(moment) != self.recipe.n_nonzero

    def arrays(self) -> Arrays:
        """Return Adam's moments, flat, and the step count; logarithms of learnt thresholds."""
        first, second, steps = self._state.moments
        named = {f"{name}_first": value.flatten() for name, value in first.items()}
        named |= {f"{name}_second": value.flatten() for name, value in second.items()}
        if "log_threshold" in self._state.parameters:
            named["log_threshold"] = self._state.parameters["log_threshold"]
        return to_host(named) | {"n_steps": np.array([steps], dtype=np.float64)}

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        parameters = dict(self._state.parameters)
        if "log_threshold" in parameters:
            parameters["log_threshold"] = to_device(arrays["log_threshold"], self._device)

        def moments(which: str) -> Tensors:
            return {
                name: to_device(arrays[f"{name}_{which}"], self._device).view_as(value)
                for name, value in parameters.items()
            }

        steps = int(arrays["n_steps"][0])
        both = Moments(moments("first"), moments("second"), steps)
        self._state = _State(parameters, both, self._state.threshold)

    def _tensors(self) -> Tensors:
        tensors, threshold = dict(self._state.parameters), self._state.threshold
        if "log_threshold" in tensors:
            threshold = tensors.pop("log_threshold").exp()
        return tensors if threshold is None else tensors | {"threshold": threshold}

    def _move_to(self, device: torch.device) -> None:
        self._state = self._state.to(device)

    def _coder(self) -> Coder:
        return self._coder_of(self.fitted())


def _detached(state: _State) -> Tensors:
    """Return the parameters as tensors of their own over the same numbers."""
    return {name: value.detach() for name, value in state.parameters.items()}
