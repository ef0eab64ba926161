"""Orthogonal matching pursuit on a device, many rows at a time, as `icfl.encode_omp` defines it.

Each round takes for every row the atom with the largest score and fits the coefficients of all its
atoms again, from the Gram matrix of these few and their inner products with the row. Among equal
scores the lower index wins; the small systems are solved in float64.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from icfl.coding.coders import BlockPursuit, OrthogonalPursuit, OwnThresholds
from icfl.coding.coders import Pursuit as PursuitCoder
from icfl.torch.arrays import to_device
from icfl.torch.matching_pursuit import entry_scores
from icfl.torch.memory import rows_at_once, wide
from icfl.torch.pursuit import Pursuit
from icfl.torch.selection import largest

__all__ = ["Orthogonal", "pursuit_of"]

DEPENDENT = 1e-6
"""An atom of whose squared norm less than this share is new to a row depends on its others."""


class Encodes(Protocol):
    """What encodes rows."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, shape (n, M), of prepared rows, shape (n, d)."""


class Block:
    """`icfl.torch.pursuit.Pursuit` with its coder; the face is `Encodes`."""

    def __init__(self, coder: BlockPursuit, pursuit: Pursuit) -> None:
        self._coder, self._pursuit = coder, pursuit

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, shape (n, M), of prepared rows, shape (n, d)."""
        return self._pursuit.encode(x, self._coder)


class Orthogonal:
    """A dictionary ready for orthogonal matching pursuit; the face is `Encodes`.

    Parameters
    ----------
    coder : OrthogonalPursuit
        Most atoms of a row, threshold and selection.
    atoms : Tensor of shape (M, d), float32
        The dictionary.
    bias : Tensor of shape (d,), float32
        Taken off every row.
    """

    def __init__(self, coder: OrthogonalPursuit, atoms: Tensor, bias: Tensor) -> None:
        self._coder = coder
        self._atoms = atoms
        self._bias = bias
        self._most = min(coder.n_nonzero, *atoms.shape)

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, shape (n, M), of prepared rows, shape (n, d)."""
        codes = x.new_zeros((len(x), len(self._atoms)))
        height = rows_at_once((len(self._atoms), x.shape[1]), self._most)
        for rows, out in zip(x.split(height), codes.split(height), strict=True):
            self._encode(rows - self._bias, out)
        return codes

    def _encode(self, start: Tensor, codes: Tensor) -> None:
        entry = entry_scores(start, self._atoms, self._coder.threshold)[:, 0]
        first = start @ self._atoms.T
        scores, chosen = first, first.new_zeros((len(start), 0), dtype=torch.long)
        values = first.new_zeros((len(start), 0))
        goes_on = torch.ones_like(entry, dtype=torch.bool)
        taken = goes_on.new_zeros((len(start), 0))
        for _ in range(self._most):
            ranks = scores.abs() if self._coder.selection == "absolute" else scores
            # An atom joins once; what its score is now is rounding.
            ranks = ranks.scatter(1, chosen, -torch.inf)
            best, atom = largest(ranks, 1)
            wider = torch.cat([chosen, atom], dim=1)
            solved, independent = self._solve(wider, first)
            goes_on = goes_on & (best[:, 0] > entry) & independent
            if not bool(goes_on.any()):
                break
            # Rows that have ended carry on with a coefficient of zero.
            kept = torch.nn.functional.pad(values, (0, 1))
            chosen, values = wider, torch.where(goes_on[:, None], solved, kept)
            taken = torch.cat([taken, goes_on[:, None]], dim=1)
            fitted = torch.bmm(values[:, None], self._atoms[chosen])[:, 0]
            scores = (start - fitted) @ self._atoms.T
        if self._coder.threshold_slope > 0.0:
            values = self._pruned(start, chosen, taken, entry)
        codes.scatter_add_(1, chosen, values)

    def _pruned(self, start: Tensor, chosen: Tensor, taken: Tensor, entry: Tensor) -> Tensor:
        """Return coefficients (n, k) without the atoms that are too weak for what is left."""
        device = start.device
        start, rows = start.to(wide(device)), self._atoms[chosen].to(wide(device))
        gram, target = rows @ rows.mT, (rows @ start[:, :, None])[:, :, 0]
        weak = taken.any(dim=1)
        while True:
            # An atom that is not there has the equation a = 0.
            pair = taken[:, :, None] & taken[:, None, :]
            kept = torch.where(pair, gram, 0).diagonal_scatter(
                torch.where(taken, gram.diagonal(dim1=1, dim2=2), 1), dim1=1, dim2=2
            )
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(kept))
            values = (inverse @ torch.where(taken, target, 0)[:, :, None])[:, :, 0]
            if not bool(weak.any()):
                return torch.where(taken, values, 0).to(self._atoms.dtype)
            left = start - (values[:, None] @ rows)[:, 0]
            limits = entry + self._coder.threshold_slope * left.square().sum(dim=1)
            # Against what the others leave.
            scores = values / inverse.diagonal(dim1=1, dim2=2)
            ranks = scores.abs() if self._coder.selection == "absolute" else scores
            rank, weakest = torch.where(taken, ranks, torch.inf).min(dim=1)
            weak = rank <= limits
            taken = taken.scatter(
                1, weakest[:, None], taken.gather(1, weakest[:, None]) & ~weak[:, None]
            )

    def _solve(self, chosen: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Return least-squares coefficients (n, k), and whether the last atom is independent."""
        rows = self._atoms[chosen].to(wide(first.device))
        gram = rows @ rows.mT
        factor, failed = torch.linalg.cholesky_ex(gram)
        pivot = factor.diagonal(dim1=1, dim2=2)[:, -1].square()
        target = first.gather(1, chosen).to(gram.dtype)
        values = torch.cholesky_solve(target[:, :, None], factor)[:, :, 0]
        independent = (failed == 0) & (pivot > DEPENDENT * gram[:, -1, -1])
        return values.to(first.dtype), independent


class Scaled:
    """What encodes with atoms divided by what their thresholds are; the face is `Encodes`."""

    def __init__(self, inner: Encodes, relative: Tensor) -> None:
        self._inner, self._relative = inner, relative

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes, shape (n, M), of prepared rows, shape (n, d)."""
        return self._inner.encode(x) / self._relative


def pursuit_of(
    coder: PursuitCoder | OwnThresholds,
    atoms: Tensor,
    bias: Tensor,
    gram_budget: int,
    products: int,
) -> Encodes:
    """Return what encodes with this dictionary as the coder says.

    Parameters
    ----------
    coder : BlockPursuit, OrthogonalPursuit or OwnThresholds
        Rounds, thresholds and selection.
    atoms : Tensor of shape (M, d)
        The dictionary, or the first atoms of it.
    bias : Tensor of shape (d,)
        Taken off every row.
    gram_budget, products : int
        As `icfl.torch.pursuit.Pursuit` has them.

    Returns
    -------
    Encodes
    """
    if isinstance(coder, OwnThresholds):
        relative = to_device(coder.relative[: len(atoms)], atoms.device)
        scaled = atoms / relative[:, None]
        return Scaled(pursuit_of(coder.pursuit, scaled, bias, gram_budget, products), relative)
    if isinstance(coder, OrthogonalPursuit):
        return Orthogonal(coder, atoms, bias)
    return Block(coder, Pursuit(atoms, bias, gram_budget, products))
