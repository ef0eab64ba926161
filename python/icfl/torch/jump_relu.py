"""JumpReLU and its straight-through gradients (Rajamanoharan et al., arXiv:2407.14435).

z = a · H(a − θ) and the count H(a − θ) jump at the threshold θ. Their derivatives by θ are taken
through a rectangle K of width ε around the jump:

    ∂z/∂θ = −(θ / ε) K((a − θ) / ε),    ∂H/∂θ = −(1 / ε) K((a − θ) / ε)

∂z/∂a is H(a − θ), and H has no derivative by a. What moves is log θ, so thresholds stay positive.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from icfl.torch.distributed import Group

__all__ = ["jump_relu", "too_many"]


class _JumpReLU(torch.autograd.Function):
    """(a, log θ, ε) → (z, H)."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, log_threshold: Tensor, bandwidth: float) -> Any:
        threshold = log_threshold.exp()
        active = (before > threshold).to(before.dtype)
        ctx.save_for_backward(before, threshold)
        ctx.bandwidth = bandwidth
        return before * active, active

    @staticmethod
    def backward(ctx: Any, by_codes: Tensor, by_active: Tensor) -> Any:
        before, threshold = ctx.saved_tensors
        near = (before - threshold).abs() < ctx.bandwidth / 2
        jump = ((by_codes * threshold + by_active) * near).sum(dim=0) / ctx.bandwidth
        return by_codes * (before > threshold), -threshold * jump, None


def jump_relu(before: Tensor, log_threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """Return codes and which are active.

    Parameters
    ----------
    before : Tensor of shape (n, M)
        Pre-activations a.
    log_threshold : Tensor of shape (M,)
        log θ.
    bandwidth : float
        ε.

    Returns
    -------
    codes, active : Tensor of shape (n, M)
        z, and H as zeros and ones.
    """
    codes, active = _JumpReLU.apply(before, log_threshold, bandwidth)
    return codes, active


def too_many(active: Tensor, recipe: Any, n_rows: int, group: Group) -> Tensor:
    """Return the penalty λ (l0 / target − 1)², whose gradient is this process's share.

    The mean number of non-zeros l0 is that of all processes' rows; each process gives an equal part
    of the value.

    Parameters
    ----------
    active : Tensor of shape (n, M)
        H as zeros and ones.
    recipe : JumpReLURecipe
        Target and weight.
    n_rows : int
        Rows of all processes.
    group : Group
        The processes.

    Returns
    -------
    Tensor of shape ()
        The penalty.
    """
    own = active.sum() / n_rows
    whole = own.detach().clone()
    group.sum([whole])
    excess = whole / recipe.n_nonzero - 1
    slope = 2 * recipe.sparsity_coefficient * excess / recipe.n_nonzero
    value = recipe.sparsity_coefficient * excess.square() / group.size
    return value + slope * (own - own.detach())
