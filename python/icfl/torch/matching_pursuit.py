"""Matching pursuit with positive selection, unrolled (MP-SAE: Costa et al., arXiv:2506.03093).

    r₀ = x − b,    zₜ = ⟨dₜ, rₜ₋₁⟩,    rₜ = rₜ₋₁ − zₜ dₜ

dₜ is the atom with the largest inner product with rₜ₋₁. Which it is has no gradient; its
coefficient and the residual do, through all rounds before. On the way back residuals are recovered
from the last one, so that memory is that of one residual, whatever the number of rounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from icfl.torch.memory import rows_at_once

__all__ = ["Found", "pursue", "unrolled"]

ROUNDINGS = 8
"""Scores below this many float32 roundings of ‖x - b‖ · max ‖d‖ are rounding, not signal."""


class Found(NamedTuple):
    """What pursuit chose.

    Attributes
    ----------
    atoms : Tensor of shape (k, n), int64
        Atom of each round and row; −1 where none had a score above `entry`.
    values : Tensor of shape (k, n)
        Their coefficients.
    entry : Tensor of shape (n, 1)
        What a score has to exceed.
    """

    atoms: Tensor
    values: Tensor
    entry: Tensor

    def codes(self, n_components: int) -> Tensor:
        """Return codes, shape (n, n_components); coefficients of an atom add up."""
        codes = self.values.new_zeros((self.atoms.shape[1], n_components))
        return codes.scatter_add_(1, self.atoms.clamp_min(0).T, self.values.T)


def entry_scores(start: Tensor, atoms: Tensor, threshold: float = 0.0) -> Tensor:
    """Return what an inner product must exceed, shape (n, 1): the threshold, or the rounding.

    A negative threshold asks for the literal algorithm, which takes atoms of any score.
    """
    norms = torch.linalg.vector_norm(start, dim=1, keepdim=True)
    if threshold < 0:
        return torch.full_like(norms, threshold)
    scale = (
        ROUNDINGS * torch.finfo(torch.float32).eps * torch.linalg.vector_norm(atoms, dim=1).max()
    )
    return (norms * scale).clamp_min(threshold)


def pursue(start: Tensor, atoms: Tensor, n_nonzero: int) -> Found:
    """Choose atoms for rows from which the bias has been taken.

    Parameters
    ----------
    start : Tensor of shape (n, d)
        Rows; scores (n, M) are formed a part of the rows at a time.
    atoms : Tensor of shape (M, d)
        The dictionary.
    n_nonzero : int
        Rounds.

    Returns
    -------
    Found
        Without a gradient.
    """
    entry = entry_scores(start, atoms)
    parts = [
        _pursue(rows, atoms, limit, n_nonzero)
        for rows, limit in zip(*_split(rows_at_once(atoms.shape), start, entry), strict=True)
    ]
    chosen, values = (torch.cat(found, dim=1) for found in zip(*parts, strict=True))
    return Found(chosen, values, entry)


def _split(height: int, *tensors: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.split(height) for tensor in tensors)


def _pursue(r: Tensor, atoms: Tensor, entry: Tensor, n_nonzero: int) -> tuple[Tensor, Tensor]:
    chosen, values = [], []
    for _ in range(n_nonzero):
        best, atom = (r @ atoms.T).max(dim=1)  # of equal ones the first
        joins = best > entry[:, 0]
        best = torch.where(joins, best, 0)
        r = torch.addcmul(r, best[:, None], atoms[atom], value=-1)
        chosen.append(torch.where(joins, atom, -1))
        values.append(best)
    return torch.stack(chosen), torch.stack(values)


class _Unrolled(torch.autograd.Function):
    """(r₀, D, atoms) → r_k."""

    @staticmethod
    def forward(ctx: Any, start: Tensor, atoms: Tensor, chosen: Tensor) -> Tensor:
        r, values = start, []
        for atom in chosen:
            d = _rows(atoms, atom)
            value = (d * r).sum(dim=1, keepdim=True)
            r = torch.addcmul(r, value, d, value=-1)
            values.append(value)
        ctx.save_for_backward(r, atoms, chosen, *values)
        return r

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        r, atoms, chosen, *values = ctx.saved_tensors
        by_atoms = torch.zeros_like(atoms)
        for atom, value in zip(reversed(chosen), reversed(values), strict=True):
            d = _rows(atoms, atom)
            r = torch.addcmul(r, value, d)
            along = (gradient * d).sum(dim=1, keepdim=True)
            both = (value * gradient).addcmul_(along, r)
            by_atoms.index_add_(0, atom.clamp_min(0), both * (atom >= 0)[:, None], alpha=-1)
            gradient = torch.addcmul(gradient, along, d, value=-1)
        return gradient, by_atoms, None


def _rows(atoms: Tensor, chosen: Tensor) -> Tensor:
    """Return the chosen atoms, and zeros for −1."""
    return atoms[chosen.clamp_min(0)] * (chosen >= 0)[:, None]


def unrolled(start: Tensor, atoms: Tensor, chosen: Tensor) -> Tensor:
    """Return what pursuit leaves of rows, differentiable by rows and atoms.

    Parameters
    ----------
    start : Tensor of shape (n, d)
        Rows without the bias, r₀.
    atoms : Tensor of shape (M, d)
        The dictionary.
    chosen : Tensor of shape (k, n), int64
        `Found.atoms`.

    Returns
    -------
    Tensor of shape (n, d)
        The last residual.
    """
    residual: Tensor = _Unrolled.apply(start, atoms, chosen)
    return residual
