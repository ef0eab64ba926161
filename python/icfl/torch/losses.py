"""The loss of an autoencoder on a mini-batch, as `icfl.autoencoders.recipe` has it, for autograd.

Everything works in the precision of its tensors. Normalisers are sums over the rows of all
processes, and a process's loss is its share: shares and their gradients add up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from icfl.autoencoders.recipe import Recipe
from icfl.torch.adam import Tensors
from icfl.torch.distributed import Group
from icfl.torch.jump_relu import jump_relu, too_many
from icfl.torch.matching_pursuit import pursue, unrolled
from icfl.torch.selection import best_of_batch, largest

__all__ = ["Look", "Products", "auxiliary", "look"]


class Look(NamedTuple):
    """What a mini-batch shows before anything moves.

    Attributes
    ----------
    loss : Tensor of shape ()
        This process's share of the loss.
    codes : Tensor of shape (n, M)
        Codes as trained with, mostly zero.
    residual : Tensor of shape (n, d)
        x − x̂.
    smallest : Tensor of shape ()
        Smallest value selected of the mini-batch, for a running threshold.
    """

    loss: Tensor
    codes: Tensor
    residual: Tensor
    smallest: Tensor


class Products:
    """Matrix products, in half precision where asked for; what they give is not.

    Parameters
    ----------
    reduced : bool
        Whether products are of bfloat16 numbers. Sums within them are float32.
    """

    def __init__(self, reduced: bool = False) -> None:
        self._reduced = reduced

    def encode(self, rows: Tensor, encoder: Tensor, bias: Tensor) -> Tensor:
        """Return rows · encoderᵀ + bias."""
        return self._run(linear, rows, encoder) + bias

    def decode(self, codes: Tensor, decoder: Tensor) -> Tensor:
        """Return codes · decoder."""
        return self._run(torch.matmul, codes, decoder)

    def _run(self, product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
        if not self._reduced:
            return product(a, b)
        with torch.autocast(a.device.type, dtype=torch.bfloat16):
            return product(a, b).to(a.dtype)


def look(
    recipe: Recipe,
    parameters: Tensors,
    x: Tensor,
    dead: NDArray[np.int64],
    total: Tensor,
    n_rows: int,
    group: Group,
    products: Products,
) -> Look:
    """Return the loss of a mini-batch and what else a step needs.

    Parameters
    ----------
    recipe : Recipe
        How the autoencoder is trained.
    parameters : dict of str to Tensor
        "components" and "bias", but for pursuit "encoder" and "encoder_bias", for JumpReLU
        "log_threshold".
    x : Tensor of shape (n, d)
        Prepared rows of this process.
    dead : ndarray of int64
        Latents that the auxiliary loss is for.
    total : Tensor of shape ()
        Σ‖x − x̄‖² over the rows of all processes.
    n_rows : int
        Rows of all processes.
    group : Group
        The processes.
    products : Products
        How matrices are multiplied.

    Returns
    -------
    Look
        Differentiable by the parameters.
    """
    decoder, bias = parameters["components"], parameters["bias"]
    smallest = x.new_zeros(())
    extra: Tensor | float = 0.0
    if recipe.activation == "matching_pursuit":
        start = x - bias
        found = pursue(start.detach(), decoder.detach(), recipe.n_nonzero)
        residual = unrolled(start, decoder, found.atoms)
        codes = found.codes(len(decoder))
        loss = residual.square().sum() / total
        left = residual.detach()
        before = products.decode(left, decoder.T)
        before = before.masked_fill(before <= found.entry, 0.0)
    else:
        before = products.encode(x - bias, parameters["encoder"], parameters["encoder_bias"])
        if recipe.activation == "jump_relu":
            codes, active = jump_relu(before, parameters["log_threshold"], _bandwidth(recipe))
            extra = too_many(active, recipe, n_rows, group)
        elif recipe.activation == "batch_topk":
            mask, smallest = best_of_batch(before.detach(), n_rows * recipe.n_nonzero, group)
            codes = before * mask
        else:
            codes = _best_of_rows(before, recipe.n_nonzero, recipe.activation == "abs_topk")
        loss, residual = _reconstruction(recipe.widths, codes, decoder, bias, x, total, products)
        left = residual.detach()
    loss = loss + extra
    if len(dead):
        loss = loss + auxiliary(recipe, before, decoder, left, dead, group, products)
    return Look(loss, codes.detach(), left, smallest)


def _best_of_rows(before: Tensor, count: int, absolute: bool) -> Tensor:
    """Keep the `count` best of each row: of largest magnitude, or the largest positive ones."""
    ranks = before.detach()
    _, places = largest(ranks.abs() if absolute else ranks, count)
    kept = before.gather(1, places)
    return torch.zeros_like(before).scatter(1, places, kept if absolute else kept.relu())


def _reconstruction(
    widths: tuple[int, ...],
    codes: Tensor,
    decoder: Tensor,
    bias: Tensor,
    x: Tensor,
    total: Tensor,
    products: Products,
) -> tuple[Tensor, Tensor]:
    """Return the mean loss of all prefixes of the dictionary, and what the whole leaves."""
    residual, loss, first = x - bias, x.new_zeros(()), 0
    for width in widths:
        residual = residual - products.decode(codes[:, first:width], decoder[first:width])
        loss = loss + residual.square().sum()
        first = width
    return loss / (total * len(widths)), residual


def auxiliary(
    recipe: Recipe,
    before: Tensor,
    decoder: Tensor,
    left: Tensor,
    dead: NDArray[np.int64],
    group: Group,
    products: Products,
) -> Tensor:
    """Return the auxiliary loss: what dead latents leave of the residual, relative to it.

    No bias of any kind is added. Where none of the latents is positive this is a constant.

    Parameters
    ----------
    recipe : Recipe
        How the autoencoder is trained.
    before : Tensor of shape (n, M)
        Pre-activations.
    decoder : Tensor of shape (M, d)
        The dictionary.
    left : Tensor of shape (n, d)
        The residual, held fixed.
    dead : ndarray of int64
        The latents.
    group : Group
        The processes.
    products : Products
        How matrices are multiplied.

    Returns
    -------
    Tensor of shape ()
        This process's share.
    """
    energy = left.square().sum()
    group.sum([energy])
    chosen = torch.from_numpy(dead).to(before.device)
    codes = _best_of_rows(before[:, chosen], recipe.k_aux_of(len(dead)), absolute=False)
    missed = (left - products.decode(codes, decoder[chosen])).square().sum()
    return recipe.aux_coefficient * missed / torch.where(energy > 0, energy, 1.0)


def _bandwidth(recipe: Any) -> float:
    return float(recipe.bandwidth)
