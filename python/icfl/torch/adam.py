"""Adam as a function: parameters and moments in, new ones out (Kingma & Ba, ICLR 2015).

``torch.optim.Adam`` moves parameters where they lie; here a step that is cut short leaves
everything as it was. The numbers are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Moments", "Tensors", "move"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Tensors = dict[str, Tensor]


class Moments(NamedTuple):
    """Running means of gradients and of their squares by parameter, and the steps taken."""

    first: Tensors
    second: Tensors
    steps: int

    @classmethod
    def none(cls, parameters: Tensors) -> Moments:
        """Return the moments before the first step."""
        first = {name: torch.zeros_like(value) for name, value in parameters.items()}
        return cls(first, {name: torch.zeros_like(value) for name, value in first.items()}, 0)


def move(
    parameters: Tensors, gradients: Tensors, moments: Moments, rate: float
) -> tuple[Tensors, Moments]:
    """Take one step.

    Parameters
    ----------
    parameters, gradients : dict of str to Tensor
        By the same names.
    moments : Moments
        As the last step left them.
    rate : float
        Step size.

    Returns
    -------
    parameters : dict of str to Tensor
        Moved ones.
    moments : Moments
        Those to go on with.

    Raises
    ------
    FloatingPointError
        If the step size is beyond float32.
    """
    steps = moments.steps + 1
    step_size = -rate / (1 - BETA1**steps)
    if abs(step_size) > torch.finfo(torch.float32).max:
        raise FloatingPointError(f"a step of {rate} is beyond float32")
    correction = (1 - BETA2**steps) ** 0.5
    moved: Tensors = {}
    first: Tensors = {}
    second: Tensors = {}
    for name, gradient in gradients.items():
        first[name] = torch.lerp(moments.first[name], gradient, 1 - BETA1)
        squares = (moments.second[name] * BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        scale = (squares.sqrt() / correction).add_(EPSILON)
        second[name] = squares
        moved[name] = torch.addcdiv(parameters[name], first[name], scale, value=step_size)
    return moved, Moments(first, second, steps)
