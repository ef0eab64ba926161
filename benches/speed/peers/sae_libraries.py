"""Training steps of TopK autoencoders by the libraries people use, from given first weights.

Each is the library's own module with its own loss; optimiser, clipping and treatment of the decoder
are those of its trainer, whose loading of language models has no part here.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["DenseAutograd", "SAELens", "Sparsify"]

AUX_WEIGHT = 1 / 32


class _Training(ABC):
    """What they share: a module, Adam, and latents that count as dead."""

    def __init__(self, module: torch.nn.Module, rate: float, dead: NDArray[np.int64], m: int):
        self.module = module
        self.optimiser = torch.optim.Adam(module.parameters(), lr=rate)
        self.dead = torch.zeros(m, dtype=torch.bool)
        self.dead[torch.from_numpy(dead)] = True

    def step(self, X: NDArray[np.float32]) -> float:
        """Take one step; return Σ‖x − x̂‖² / Σ‖x − x̄‖² before it."""
        x = torch.from_numpy(X)
        self.optimiser.zero_grad(set_to_none=True)
        loss, left = self.forward(x)
        loss.backward()
        self.limit()
        self.optimiser.step()
        self.finish()
        total = (x - x.mean(dim=0)).square().sum()
        return float(left.detach().square().sum() / total)

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, and what is left of x."""

    def limit(self) -> None:
        """Treat the gradients as the library's trainer does."""
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)

    @abstractmethod
    def finish(self) -> None:
        """Treat the moved weights as the library's trainer does."""


class Sparsify(_Training):
    """`eai-sparsify`: gathered decoding, FVU loss, decoder rows of unit norm."""

    def __init__(self, D: NDArray[np.float32], k: int, rate: float, dead: NDArray[np.int64]):
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
        from sparsify import SparseCoder, SparseCoderConfig

        coder = SparseCoder(D.shape[1], SparseCoderConfig(num_latents=len(D), k=k))
        coder.encoder.weight.data = torch.from_numpy(D.copy())
        coder.W_dec.data = torch.from_numpy(D.copy())
        super().__init__(coder, rate, dead, len(D))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.module(x, dead_mask=self.dead if self.dead.any() else None)
        return out.fvu + AUX_WEIGHT * out.auxk_loss, x - out.sae_out

    def limit(self) -> None:
        coder: Any = self.module
        coder.remove_gradient_parallel_to_decoder_directions()
        super().limit()

    def finish(self) -> None:
        coder: Any = self.module
        coder.set_decoder_norm_to_unit_norm()


class SAELens(_Training):
    """`sae-lens`: dense products, mean squared error, free decoder norms.

    Its sparse activations have no gradient on the CPU (PyTorch 2.15).
    """

    def __init__(self, D: NDArray[np.float32], k: int, rate: float, dead: NDArray[np.int64]):
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

        config = TopKTrainingSAEConfig(
            d_in=D.shape[1],
            d_sae=len(D),
            k=k,
            device="cpu",
            aux_loss_coefficient=AUX_WEIGHT,
        )
        module = TopKTrainingSAE(config)
        module.W_enc.data = torch.from_numpy(D.T.copy())
        module.W_dec.data = torch.from_numpy(D.copy())
        super().__init__(module, rate, dead, len(D))
        self.steps = 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        from sae_lens.saes.sae import TrainStepInput

        self.steps += 1
        module: Any = self.module
        out = module.training_forward_pass(
            TrainStepInput(
                sae_in=x,
                coefficients={},
                dead_neuron_mask=self.dead,
                n_training_steps=self.steps,
                is_logging_step=False,
            )
        )
        return out.loss, x - out.sae_out

    def finish(self) -> None:
        """Nothing: norms of decoder rows are free."""


class DenseAutograd(_Training):
    """Plain PyTorch: products with all latents, and autograd."""

    def __init__(self, D: NDArray[np.float32], k: int, rate: float, dead: NDArray[np.int64]):
        module = torch.nn.Module()
        module.encoder = torch.nn.Parameter(torch.from_numpy(D.copy()))
        module.decoder = torch.nn.Parameter(torch.from_numpy(D.copy()))
        module.latent_bias = torch.nn.Parameter(torch.zeros(len(D)))
        module.bias = torch.nn.Parameter(torch.zeros(D.shape[1]))
        super().__init__(module, rate, dead, len(D))
        self.k, self.k_aux = k, D.shape[1] // 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        w: Any = self.module
        before = torch.addmm(w.latent_bias, x - w.bias, w.encoder.T)
        left = x - _keep_best(before, self.k) @ w.decoder - w.bias
        loss = left.square().sum() / (x - x.mean(dim=0)).square().sum()
        if self.dead.any():
            k = min(self.k_aux, int(self.dead.sum()))
            modelled = _keep_best(before.masked_fill(~self.dead, -torch.inf), k) @ w.decoder
            target = left.detach()
            loss = loss + AUX_WEIGHT * (target - modelled).square().sum() / target.square().sum()
        return loss, left

    def limit(self) -> None:
        w: Any = self.module
        w.decoder.grad -= (w.decoder.grad * w.decoder).sum(dim=1, keepdim=True) * w.decoder.detach()
        super().limit()

    @torch.no_grad()
    def finish(self) -> None:
        w: Any = self.module
        w.decoder.div_(w.decoder.norm(dim=1, keepdim=True))


def _keep_best(before: Tensor, k: int) -> Tensor:
    values, indices = torch.topk(before, k, dim=1, sorted=False)
    return torch.zeros_like(before).scatter(1, indices, values.clamp_min(0))
