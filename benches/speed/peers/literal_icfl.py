"""The published ICFL in PyTorch as a learner: literal encoding, Adam, redundant atoms replaced.

Every 100 steps one atom of each pair with a cosine above 0.9 is replaced by a random direction, as
published. Atoms are kept at unit norm, with which Adam learns faster.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from speed.peers.pytorch import LiteralTraining

__all__ = ["LiteralLearner"]

ENCODED_AT_ONCE = 1024
STEPS_BETWEEN_REPLACEMENTS = 100
LARGEST_COSINE = 0.9


class LiteralLearner:
    """Adam on dictionary and bias, the codes of each mini-batch held fixed."""

    def __init__(
        self, D: NDArray[np.float32], J: int, L: int, learning_rate: float, seed: int = 0
    ) -> None:
        self.training: LiteralTraining | None = None
        self.start, self.J, self.L, self.learning_rate = D, J, L, learning_rate
        self.generator = torch.Generator().manual_seed(seed)
        self.n_steps = 0

    def step(self, X: NDArray[np.float32]) -> None:
        """Take one step on the rows of X; the bias starts at the mean of the first ones."""
        if self.training is None:
            at_once = min(len(X), ENCODED_AT_ONCE)
            self.training = LiteralTraining(
                self.start, X.mean(axis=0), self.J, self.L, self.learning_rate, at_once
            )
        self.training.step(X)
        self.n_steps += 1
        if self.n_steps % STEPS_BETWEEN_REPLACEMENTS == 0:
            self._replace_redundant(self.training.D.data)

    @torch.no_grad()
    def _replace_redundant(self, D: torch.Tensor) -> None:
        redundant = torch.triu(D @ D.T > LARGEST_COSINE, diagonal=1).any(dim=0)
        fresh = torch.randn(int(redundant.sum()), D.shape[1], generator=self.generator)
        D[redundant] = torch.nn.functional.normalize(fresh, dim=1)

    @property
    def components(self) -> NDArray[np.float32]:
        """The dictionary as it is now."""
        return self.start if self.training is None else self.training.D.detach().numpy()
