"""Block pursuit on a device: Algorithm 1 of Donhauser et al. (ICML 2025), many rows at a time.

As `icfl.encode_icfl` defines it. Scores follow the residual by rows of the Gram matrix where that
fits its budget and pays, else they are computed anew every round; the two differ by float32
rounding. Among equal scores the lower index wins; the small systems are solved in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from icfl.coding.coders import BlockPursuit
from icfl.torch.matching_pursuit import entry_scores
from icfl.torch.memory import rows_at_once, wide
from icfl.torch.selection import largest

__all__ = ["Pursuit"]

RIDGE = 1e-6
"""Ridge of a block's least squares, relative to the largest ‖d‖² in it."""


class Pursuit:
    """A dictionary ready for pursuit.

    Parameters
    ----------
    atoms : Tensor of shape (M, d), float32
        The dictionary.
    bias : Tensor of shape (d,), float32
        Taken off every row.
    gram_budget : int
        Bytes that the Gram matrix may take.
    products : int, optional
        Rows times rounds after the first, each of which costs a product with all atoms: with no
        more of them than atoms the Gram matrix is not worth its own. None: with many.
    """

    def __init__(
        self, atoms: Tensor, bias: Tensor, gram_budget: int, products: int | None = None
    ) -> None:
        self._atoms = atoms
        self._bias = bias
        fits = len(atoms) ** 2 * atoms.element_size() <= gram_budget
        pays = products is None or products > len(atoms)
        self._gram: Tensor | None = atoms @ atoms.T if fits and pays else None
        self._squared_norms = atoms.square().sum(dim=1)

    def encode(self, x: Tensor, coder: BlockPursuit) -> Tensor:
        """Return the codes of prepared rows.

        Parameters
        ----------
        x : Tensor of shape (n, d), float32
            Rows.
        coder : BlockPursuit
            Rounds, atoms of a round, threshold and selection.

        Returns
        -------
        Tensor of shape (n, M), float32
            Codes, mostly zero.
        """
        codes = x.new_zeros((len(x), len(self._atoms)))
        height = rows_at_once(self._atoms.shape, coder.atoms_per_iteration)
        for rows, out in zip(x.split(height), codes.split(height), strict=True):
            self._encode(rows - self._bias, coder, out)
        return codes

    def _encode(self, residual: Tensor, coder: BlockPursuit, codes: Tensor) -> None:
        count = min(coder.atoms_per_iteration, len(self._atoms))
        entry = entry_scores(residual, self._atoms, coder.threshold)
        scores = residual @ self._atoms.T
        for step in range(coder.n_iterations):
            if step > 0 and self._gram is None:
                torch.mm(residual, self._atoms.T, out=scores)
            ranks = scores.abs() if coder.selection == "absolute" else scores
            best, chosen = largest(ranks, count, entry)
            joins = best > entry
            if not bool(joins.any()):
                return
            values = self._fit(chosen, joins, scores.gather(1, chosen))
            codes.scatter_add_(1, chosen, values)
            for atom, value in zip(chosen.T, values.T, strict=True):
                if self._gram is None:
                    residual.addcmul_(self._atoms[atom], value[:, None], value=-1)
                else:
                    scores.addcmul_(self._gram[atom], value[:, None], value=-1)

    def _fit(self, chosen: Tensor, joins: Tensor, scores: Tensor) -> Tensor:
        """Return least-squares coefficients, shape (n, L), of the atoms that join; else zero.

        An atom that does not join has the equation a = 0, and so have those of a block without
        any length.
        """
        own = torch.where(joins, self._squared_norms[chosen], 0)
        ridge = RIDGE * own.amax(dim=1, keepdim=True).to(wide(scores.device))
        takes_part = joins & (ridge > 0)
        target = torch.where(takes_part, scores, 0).to(ridge.dtype)
        diagonal = torch.where(takes_part, own + ridge, 1.0)
        if chosen.shape[1] == 1:
            return (target / diagonal).to(scores.dtype)
        pair = takes_part[:, :, None] & takes_part[:, None, :]
        gram = torch.where(pair, self._block(chosen), 0).to(ridge.dtype)
        gram.diagonal(dim1=1, dim2=2).copy_(diagonal)
        factor, failed = torch.linalg.cholesky_ex(gram)
        values = torch.cholesky_solve(target[:, :, None], factor)[:, :, 0].to(scores.dtype)
        return torch.where(failed[:, None] == 0, values, 0)

    def _block(self, chosen: Tensor) -> Tensor:
        if self._gram is not None:
            return self._gram[chosen[:, :, None], chosen[:, None, :]]
        rows = self._atoms[chosen]
        return rows @ rows.mT
