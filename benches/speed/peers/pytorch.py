"""PyTorch, without autograd where none is needed and with its best mini-batch size."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LiteralPursuit", "LiteralTraining", "TopK", "best_batch_size"]

Arrays = tuple[NDArray[np.int64], NDArray[np.float32]]
BATCH_SIZES = (64, 128, 256, 512, 1024)


def best_batch_size(make: Any, X: NDArray[np.float32]) -> int:
    """Return the fastest of `BATCH_SIZES` on (at least once) that many rows of `X`."""

    def rate(size: int) -> float:
        rows = X[: max(size, 256)]
        run = make(size)
        run(rows[:size])
        start = time.perf_counter()
        run(rows)
        return len(rows) / (time.perf_counter() - start)

    return max((size for size in BATCH_SIZES if size <= len(X)), key=rate)


class TopK:
    """One matrix product and `torch.topk`, as TopK autoencoders encode.

    In bfloat16 scores keep 8 bits: many supports differ from those of the definition.
    """

    def __init__(
        self, D: NDArray[np.float32], k: int, batch_size: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self.D, self.k, self.batch_size = torch.from_numpy(D).to(dtype), k, batch_size

    @torch.inference_mode()
    def __call__(self, X: NDArray[np.float32]) -> Arrays:
        pieces = torch.from_numpy(X).split(self.batch_size)
        return _joined([self._encode(piece.to(self.D.dtype)) for piece in pieces])

    def _encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = torch.topk(x @ self.D.T, self.k, dim=1, sorted=False)
        return indices, values.clamp_min(0).float()


class LiteralPursuit:
    """Algorithm 1 as it is written: scores of the residual, top L, least squares, subtract.

    `solver` "solve" goes by the normal equations of the L atoms, with the ridge that our encoder
    documents; "lstsq" hands the d × L problem to `torch.linalg.lstsq`, as the formula reads.
    """

    def __init__(
        self, D: NDArray[np.float32], J: int, L: int, batch_size: int, solver: str = "solve"
    ) -> None:
        self.D, self.J, self.L, self.batch_size = torch.from_numpy(D), J, L, batch_size
        self.solve = {"solve": _normal_equations, "lstsq": _least_squares}[solver]

    @torch.inference_mode()
    def __call__(self, X: NDArray[np.float32]) -> Arrays:
        pieces = torch.from_numpy(X).split(self.batch_size)
        return _joined([self.encode(piece, self.D) for piece in pieces])

    def encode(self, x: Tensor, D: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, J L) indices and values; an atom may occur twice, its values add up."""
        r = x
        indices, values = [], []
        for _ in range(self.J):
            scores, S = torch.topk(r @ D.T, self.L, dim=1, sorted=False)
            atoms = D[S]
            a = self.solve(atoms, scores, r)
            r = r - torch.bmm(a.unsqueeze(1), atoms).squeeze(1)
            indices.append(S)
            values.append(a)
        return torch.cat(indices, dim=1), torch.cat(values, dim=1)


class LiteralTraining:
    """The paper's step: codes without gradient, Adam on ‖x − z D − b‖², atoms to unit norm."""

    def __init__(
        self,
        D: NDArray[np.float32],
        bias: NDArray[np.float32],
        J: int,
        L: int,
        learning_rate: float,
        batch_size: int,
    ) -> None:
        self.D = torch.nn.Parameter(torch.from_numpy(D.copy()))
        self.bias = torch.nn.Parameter(torch.from_numpy(bias.copy()))
        self.pursuit = LiteralPursuit(D, J, L, batch_size)
        self.optimiser = torch.optim.Adam([self.D, self.bias], lr=learning_rate)

    def step(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take one step on all rows of X; return the dictionary."""
        x = torch.from_numpy(X)
        with torch.no_grad():
            pieces = (x - self.bias).split(self.pursuit.batch_size)
            parts = [self.pursuit.encode(piece, self.D) for piece in pieces]
            indices, values = (torch.cat(part) for part in zip(*parts, strict=True))
            z = torch.zeros(len(x), len(self.D)).scatter_add_(1, indices, values)
        self.optimiser.zero_grad()
        loss = (x - z @ self.D - self.bias).square().sum(dim=1).mean()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            self.D.div_(self.D.norm(dim=1, keepdim=True))
        return self.D.detach().numpy()


def _normal_equations(atoms: Tensor, scores: Tensor, r: Tensor) -> Tensor:
    gram = atoms @ atoms.mT
    diagonal = gram.diagonal(dim1=1, dim2=2)
    ridge = 1e-6 * diagonal.amax(dim=1, keepdim=True)
    return torch.linalg.solve(gram + torch.diag_embed(ridge.expand_as(diagonal)), scores)


def _least_squares(atoms: Tensor, scores: Tensor, r: Tensor) -> Tensor:
    return torch.linalg.lstsq(atoms.mT, r.unsqueeze(2)).solution.squeeze(2)


def _joined(parts: list[tuple[Tensor, Tensor]]) -> Arrays:
    indices, values = (torch.cat(part) for part in zip(*parts, strict=True))
    return indices.numpy(), values.numpy()
