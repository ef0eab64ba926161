"""A TopK sparse autoencoder with the auxiliary loss (Gao et al., arXiv:2406.04093) in PyTorch.

As the field trains them: decoder of unit norm, encoder started at its transpose, a bias that is
subtracted and added again, Adam, gradients of norm 1 at most, those of the decoder orthogonal to
its rows. A latent is dead that has not been positive for `DEAD_AFTER` samples; the best d / 2 of
the dead ones model what the others leave, with weight 1/32. Ten million samples, which is usual,
would be longer than the whole run: the window is relative to the data.

Only the k latents of a sample carry a gradient: codes are gathered, never multiplied densely,
where that is faster.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["TopKAutoencoder"]

AUX_WEIGHT = 1 / 32
LARGEST_GRADIENT = 1.0
DEAD_AFTER = 20_480


class TopKAutoencoder(torch.nn.Module):
    """x̂ = TopK(ReLU((x − b) Eᵀ + e)) D + b."""

    def __init__(self, D: NDArray[np.float32], k: int, learning_rate: float) -> None:
        super().__init__()
        start = normalize(torch.from_numpy(D), dim=1)
        self.k, self.k_aux = k, D.shape[1] // 2
        self.decoder = torch.nn.Parameter(start.clone())
        self.encoder = torch.nn.Parameter(start.clone())
        self.latent_bias = torch.nn.Parameter(torch.zeros(len(D)))
        self.bias = torch.nn.Parameter(torch.zeros(D.shape[1]))
        self.optimiser = torch.optim.Adam(self.parameters(), lr=learning_rate)
        self.silent_for: Tensor
        self.register_buffer("silent_for", torch.zeros(len(D), dtype=torch.long))
        self.n_steps = 0

    @property
    def components(self) -> NDArray[np.float32]:
        """The dictionary as it is now."""
        return self.decoder.detach().numpy()

    def step(self, X: NDArray[np.float32] | Tensor) -> None:
        """Take one step on the rows of X; the bias starts at the mean of the first ones."""
        x = torch.as_tensor(X)
        if self.n_steps == 0:
            self.bias.data.copy_(x.mean(dim=0))
        self.n_steps += 1
        self.optimiser.zero_grad()
        self._loss(x).backward()
        _remove_radial_part(self.decoder)
        torch.nn.utils.clip_grad_norm_(self.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.decoder.data = normalize(self.decoder.data, dim=1)

    def _loss(self, x: Tensor) -> Tensor:
        before = torch.addmm(self.latent_bias, x - self.bias, self.encoder.T)
        z = _keep_best(before, self.k)
        residual = x - z @ self.decoder - self.bias
        scale = (x - x.mean(dim=0)).square().mean()
        loss = residual.square().mean() / scale
        self._count_silence(z.detach())
        dead = self.silent_for > DEAD_AFTER
        if dead.any():
            loss = loss + AUX_WEIGHT * self._auxiliary(before, residual.detach(), dead)
        return loss

    def _auxiliary(self, before: Tensor, residual: Tensor, dead: Tensor) -> Tensor:
        """What the dead latents leave of the residual, relative to its variance."""
        k = min(self.k_aux, int(dead.sum()))
        modelled = _keep_best(before.masked_fill(~dead, -torch.inf), k) @ self.decoder
        scale = (residual - residual.mean(dim=0)).square().mean()
        return ((residual - modelled).square().mean() / scale).nan_to_num(0.0)

    def _count_silence(self, z: Tensor) -> None:
        fired = (z > 0).any(dim=0)
        self.silent_for += len(z)
        self.silent_for[fired] = 0


def _keep_best(before: Tensor, k: int) -> Tensor:
    values, indices = torch.topk(before, k, dim=1, sorted=False)
    return torch.zeros_like(before).scatter(1, indices, values.clamp_min(0))


@torch.no_grad()
def _remove_radial_part(decoder: torch.nn.Parameter) -> None:
    assert decoder.grad is not None
    along = (decoder.grad * decoder).sum(dim=1, keepdim=True)
    decoder.grad -= along * decoder
