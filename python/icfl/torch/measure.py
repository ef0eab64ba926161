"""How well codes reproduce a mini-batch, over all processes that learn together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icfl.exceptions import InputError
from icfl.learning.stepper import Outcome
from icfl.metrics._column_moments import ColumnMoments
from icfl.torch.distributed import Group
from icfl.torch.memory import wide

__all__ = ["Measured", "column_moments", "outcome", "reproduction"]


class Measured(NamedTuple):
    """Moments of the columns of all processes' rows."""

    moments: ColumnMoments

    @property
    def n_rows(self) -> int:
        """Rows of all processes."""
        return self.moments.n_samples

    @property
    def total(self) -> float:
        """Σ‖x − x̄‖²; where all rows are equal their number, so that a loss can be divided by it."""
        return float(self.moments.centred_ss.sum()) or float(self.n_rows)


def column_moments(x: Tensor, group: Group, step: int = 0) -> Measured:
    """Return the moments of the columns of rows, joined over all processes.

    Parameters
    ----------
    x : Tensor of shape (n, d)
        Rows of this process.
    group : Group
        The processes.
    step : int, default=0
        Where this process stands.

    Returns
    -------
    Measured
        The same in every process.

    Raises
    ------
    InputError
        If processes stand at different steps.
    """
    # The first row is subtracted first: a constant column then centres to exactly zero.
    origin = x[0].to(wide(x.device))
    centred = x.to(origin.dtype) - origin
    shift = centred.mean(dim=0)
    squares = (centred - shift).square_().sum(dim=0)
    own = torch.cat([origin.new_tensor([step, len(x)]), origin + shift, squares])
    parts = _on_host(torch.cat(group.gather(own[None, :])))
    if len(set(parts[:, 0])) > 1:
        steps = ", ".join(str(int(part[0])) for part in parts)
        raise InputError(f"processes must go on from the same step, got {steps}")
    joined: ColumnMoments | None = None
    for part in parts:
        mean, centred_ss = np.split(part[2:], 2)
        moments = ColumnMoments(int(part[1]), mean, centred_ss)
        if joined is None:
            joined = moments
        else:
            joined.merge(moments)
    assert joined is not None
    return Measured(joined)


def reproduction(x: Tensor, residual: Tensor) -> Tensor:
    """Return Σ‖x − x̂‖² and Σ cosine(x, x̂), where x − x̂ is `residual`; shape (2,).

    The cosine is one if both are zero, zero if one is.
    """
    precise = wide(x.device)
    left, rest = x.to(precise), residual.to(precise)
    right = left - rest
    a, b = left.square().sum(dim=1), right.square().sum(dim=1)
    both = (a * b).sqrt()
    cosines = torch.where(both > 0, (left * right).sum(dim=1) / both, ((a == 0) & (b == 0)).to(a))
    return torch.stack([rest.square().sum(), cosines.sum()])


def outcome(
    x: Tensor,
    residual: Tensor,
    codes: Tensor,
    measured: Measured,
    group: Group,
    n_replaced: int = 0,
) -> Outcome:
    """Return what a step found out, over the rows of all processes.

    Parameters
    ----------
    x, residual : Tensor of shape (n, d)
        Rows of this process, and what their codes leave of them.
    codes : Tensor of shape (n, M)
        Their codes.
    measured : Measured
        Moments of all processes' rows.
    group : Group
        The processes.
    n_replaced : int, default=0
        Atoms that the step replaces.

    Returns
    -------
    Outcome
        The same in every process.
    """
    uses = (codes != 0).sum(dim=0)
    sums = reproduction(x, residual)
    group.sum([uses, sums])
    counts = uses.numpy(force=True)
    residual_ss, cosine = _on_host(sums)
    moments = measured.moments
    return Outcome(
        measured.n_rows,
        (float(residual_ss), float(cosine), moments.mean, moments.centred_ss),
        np.flatnonzero(counts).astype(np.int32),
        int(counts.sum()),
        n_replaced,
    )


def _on_host(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.numpy(force=True), dtype=np.float64)
