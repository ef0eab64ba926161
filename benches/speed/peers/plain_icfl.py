"""The published step of ICFL in PyTorch, on tensors wherever they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speed.peers.pytorch import LiteralPursuit

__all__ = ["PlainICFL"]


class PlainICFL:
    """The published step on tensors: literal encoding, then Adam on dictionary and bias."""

    def __init__(
        self, atoms: NDArray[np.float32], x: Tensor, J: int, L: int, learning_rate: float
    ) -> None:
        self.atoms = torch.nn.Parameter(torch.from_numpy(atoms).to(x.device))
        self.bias = torch.nn.Parameter(x.mean(dim=0))
        self.pursuit = LiteralPursuit(atoms, J, L, len(x))
        self.optimiser = torch.optim.Adam([self.atoms, self.bias], lr=learning_rate)

    def step(self, x: Tensor) -> None:
        with torch.no_grad():
            indices, values = self.pursuit.encode(x - self.bias, self.atoms)
            z = x.new_zeros((len(x), len(self.atoms))).scatter_add_(1, indices, values)
        self.optimiser.zero_grad()
        (x - z @ self.atoms - self.bias).square().sum(dim=1).mean().backward()
        self.optimiser.step()
        with torch.no_grad():
            self.atoms /= self.atoms.norm(dim=1, keepdim=True)
