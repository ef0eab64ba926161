"""The largest few values, ties to the lower index, which ``torch.topk`` leaves open."""

from __future__ import annotations

import torch
from torch import Tensor

from icfl.torch.distributed import Group

__all__ = ["best_of_batch", "largest"]


def largest(ranks: Tensor, count: int, floor: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the `count` largest ranks of every row, and where they are.

    Parameters
    ----------
    ranks : Tensor of shape (n, M)
        What is compared.
    count : int
        How many; at most M.
    floor : Tensor of shape (n, 1), or float
        Ties at or below it are not settled.

    Returns
    -------
    values, indices : Tensor of shape (n, count)
        In no particular order.
    """
    if count >= ranks.shape[1]:
        values, indices = ranks.topk(count, dim=1)
        return values, indices
    values, indices = ranks.topk(count + 1, dim=1)
    worst, next_best = values[:, count - 1 : count], values[:, count:]
    values, indices = values[:, :count], indices[:, :count]
    tied = ((worst == next_best) & (worst > floor)).squeeze(1)
    if bool(tied.any()):
        indices = indices.clone()
        indices[tied] = _lower_of_equal(ranks[tied], worst[tied], count)
        values = ranks.gather(1, indices)
    return values, indices


def _lower_of_equal(ranks: Tensor, worst: Tensor, count: int) -> Tensor:
    above, equal = ranks > worst, ranks == worst
    room = count - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= room))
    return chosen.nonzero()[:, 1].view(-1, count)


def best_of_batch(values: Tensor, count: int, group: Group) -> tuple[Tensor, Tensor]:
    """Return a mask of the `count` largest positive values of all processes' mini-batches.

    Ties go to the lower place in the matrix; between processes all that are equal are taken.

    Parameters
    ----------
    values : Tensor of shape (n, M)
        Values of this process.
    count : int
        How many of all processes' values.
    group : Group
        The processes.

    Returns
    -------
    mask : Tensor of shape (n, M), bool
        Those that are among them.
    smallest : Tensor of shape ()
        The smallest one taken; 0 if there are fewer positive values than `count`.
    """
    flat = values.flatten()
    best = flat.topk(min(count, len(flat)), sorted=False).values
    if group.size > 1:
        best = torch.cat(group.gather(best))
        best = best.topk(min(count, len(best)), sorted=False).values
    smallest = best.min().clamp_min(0) if len(best) == count else best.new_zeros(())
    mask = (flat >= smallest) & (flat > 0)
    if group.size == 1 and int(mask.sum()) > count:
        equal = flat == smallest
        room = count - (flat > smallest).sum()
        mask &= ~equal | (equal.cumsum(0) <= room)
    return mask.view_as(values), smallest
