"""The online update on a device: statistics, block-coordinate sweeps, and places put to use.

`icfl.updates.online` says what is done. A sweep moves one atom after the other, each seeing those
before it. Within a block of atoms all of that happens in the span of the block's old atoms and
directions, so the one-after-the-other works on their few coefficients, in main memory, and the
device does the products: it would otherwise be asked for five small things an atom.
"""

from __future__ import annotations

from copy import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icfl.learning.stepper import Arrays, Moment
from icfl.torch.arrays import to_host
from icfl.torch.memory import wide
from icfl.torch.updates import DeviceUpdate, normalised
from icfl.updates import Online
from icfl.updates.companions import CodeSums
from icfl.updates.disentangling import Parting, disentangled
from icfl.updates.online import (
    FEWEST_USES,
    SETTLE,
    USAGE_WINDOW,
    arrived,
    draw,
    early,
    growing_rounds,
    growth,
    redundant,
    within,
)
from icfl.updates.releasing import released

__all__ = ["DeviceOnline"]

SWEEP_BLOCK = 64
"""Atoms whose directions are formed by one product."""

FORGOTTEN = 1e-30
"""Atoms with less than this in Σ z² stay as they are: what is left of their statistics is noise."""


class Statistics(NamedTuple):
    """Sums over all samples seen, weighted by forgetting.

    Attributes
    ----------
    code_products, code_inputs : Tensor of shape (M, M) and (M, d)
        A = Σ z zᵀ and B = Σ z xᵀ.
    code_sums, input_sums : Tensor of shape (M,) and (d,)
        Σ z and Σ x.
    weight : float
        Σ 1.
    """

    code_products: Tensor
    code_inputs: Tensor
    code_sums: Tensor
    input_sums: Tensor
    weight: float

    def of_codes(self, active: int) -> CodeSums:
        """Return what is known of the codes of the first atoms, in main memory."""
        products = self.code_products[:active, :active].numpy(force=True)
        return CodeSums(products, self.code_sums[:active].numpy(force=True), self.weight)

    @property
    def energy(self) -> NDArray[np.float32]:
        """Mean z² of every atom, in main memory."""
        scale = 1.0 / self.weight if self.weight > 0 else 0.0
        energy: NDArray[np.float32] = (self.code_products.diagonal() * scale).numpy(force=True)
        return energy

    def recode(self, parting: Parting) -> None:
        """Have codes say what they would have said after a parting."""
        device, atom, left = self.code_sums.device, parting.atom, parting.left
        others = torch.from_numpy(parting.others).to(device)
        weights = torch.from_numpy(parting.weights).to(self.code_sums)
        for sums in (self.code_products, self.code_products.T, self.code_inputs):
            sums[others] += torch.outer(weights, sums[atom])
            sums[atom] *= left
        self.code_sums[others] += weights * self.code_sums[atom]
        self.code_sums[atom] *= left

    def clear(self, atoms: Tensor) -> None:
        """Forget everything about atoms."""
        self.code_products[atoms] = 0
        self.code_products[:, atoms] = 0
        self.code_inputs[atoms] = 0
        self.code_sums[atoms] = 0


class DeviceOnline(DeviceUpdate):
    """A dictionary moved by `icfl.updates.Online`."""

    def __init__(self, options: Online, *args: Any) -> None:
        super().__init__(*args)
        self._options = options
        new, (m, d) = self.components.new_zeros, self.components.shape
        self._statistics = Statistics(new((m, m)), new((m, d)), new(m), new(d), 0.0)
        self._uses = np.zeros(m, dtype=np.int64)
        self._counted = 0
        self._n_batches = 0
        self._first = min(options.first_atoms or m, m)
        self._arrived = self._first

    def active(self, progress: float | None) -> int:
        """Return how many atoms, from the first on, the next mini-batch is encoded with."""
        return len(self.components) if progress is None else self._arrived

    def rounds(self, n_iterations: int, atoms_per_iteration: int, progress: float | None) -> int:
        """Return the iterations to learn with: growing, and not beyond what d can identify."""
        share = growth(self._n_batches, self._options.memory, progress)
        return growing_rounds(n_iterations, atoms_per_iteration, self.components.shape[1], share)

    def step(
        self, x: Tensor, codes: Tensor, residual: Tensor, n_rows: int, moment: Moment
    ) -> DeviceOnline:
        """Take in a mini-batch, sweep once, and replace atoms when it is time to."""
        after = copy(self)
        after.n_replaced = 0
        after._n_batches += 1
        keep = 1.0 - 1.0 / min(after._n_batches, self._options.memory)
        after._statistics = self._accumulated(x, codes, n_rows, keep)
        after.bias = after._statistics.input_sums / after._statistics.weight
        after.components = swept(self.components, after.bias, after._statistics, self._unit_norm)
        uses = (codes != 0).sum(dim=0)
        self._group.sum([uses])
        after._uses = self._uses + uses.numpy(force=True)
        after._counted += n_rows
        active = self.active(moment.progress)
        after._arrived = arrived(active, self._first, len(self._uses), moment.progress)
        empty = np.arange(active, after._arrived)
        progress = moment.progress
        due = after._n_batches % self._options.replace_every == 0
        if due and (progress is None or progress < SETTLE):
            freed = [after._redundant(active), after._unused(active), empty]
            empty = np.unique(np.concatenate(freed))
        if len(empty):
            after._replace(empty, x, codes, moment.rng)
        if due and within(self._options.disentangle, progress):
            after._disentangle(active, progress)
            if self._options.release and (progress is None or progress < SETTLE):
                after._release(active)
        return after

    def _accumulated(self, x: Tensor, codes: Tensor, n_rows: int, keep: float) -> Statistics:
        *old, weight = self._statistics
        new = [codes.T @ codes, codes.T @ x, codes.sum(dim=0), x.sum(dim=0)]
        self._group.sum(new)
        a, b, s, t = (torch.add(one, kept, alpha=keep) for one, kept in zip(new, old, strict=True))
        # The compiled code holds `keep` as float32.
        return Statistics(a, b, s, t, weight * float(np.float32(keep)) + n_rows)

    def _disentangle(self, active: int, progress: float | None) -> None:
        if self._coherence_limit is None:
            return
        known = self._statistics
        atoms, partings, apart = disentangled(
            self.components[:active].numpy(force=True),
            known.of_codes(active),
            self._coherence_limit,
            None,
        )
        self.components[:active] = self._there(atoms)  # a new tensor of this step
        for parting in partings:
            known.recode(parting)
        if early(self._n_batches, self._options.memory, progress):
            known.clear(self._there(apart))

    def _release(self, active: int) -> None:
        if self._coherence_limit is None:
            return
        known = self._statistics
        atoms, partings, places = released(
            self.components[:active].numpy(force=True), known.of_codes(active)
        )
        if len(places) == 0:
            return
        self.components[:active] = self._there(atoms)  # a new tensor of this step
        known.clear(self._there(places))
        for parting in partings:
            known.recode(parting)
        self._uses[places] = FEWEST_USES
        self.n_replaced += len(places)

    def _replace(
        self, freed: NDArray[np.int64], x: Tensor, codes: Tensor, rng: np.random.Generator
    ) -> None:
        residual = x - codes @ self.components - self.bias
        own = residual.to(wide(x.device)).square_().sum(dim=1)
        shares = self._group.gather(own)
        weights = np.concatenate([np.asarray(s.numpy(force=True), np.float64) for s in shares])
        chosen = draw(weights, len(freed), rng)
        freed = rng.permutation(freed)[: len(chosen)]
        self.n_replaced = len(freed)
        if len(freed) == 0:
            return
        drawn = self._there(np.stack([freed, chosen]).astype(np.int64))
        self._group.share([drawn])
        places, rows = drawn
        rows = rows - sum(len(share) for share in shares[: self._group.rank])
        here = (rows >= 0) & (rows < len(x))
        directions = residual.new_zeros((len(rows), x.shape[1]))
        directions[here] = normalised(residual[rows[here]])
        self._group.sum([directions])
        self.components[places] = directions  # a new tensor of this step, as the statistics are
        self._statistics.clear(places)

    def _redundant(self, active: int) -> NDArray[np.int64]:
        if self._coherence_limit is None:
            return np.empty(0, dtype=np.int64)
        atoms = self.components[:active].numpy(force=True)
        return redundant(atoms, self._statistics.energy[:active], self._coherence_limit, None)

    def _unused(self, active: int) -> NDArray[np.int64]:
        if self._counted < USAGE_WINDOW * len(self._uses):
            return np.empty(0, dtype=np.int64)
        unused = np.flatnonzero(self._uses[:active] < FEWEST_USES)
        self._uses, self._counted = np.zeros_like(self._uses), 0
        return unused

    def arrays(self) -> Arrays:
        """Return the statistics, flat, and the counts."""
        *sums, weight = self._statistics
        named = dict(zip(Statistics._fields, (value.flatten() for value in sums), strict=False))
        return to_host(named) | {
            "weight": np.array([weight], dtype=np.float64),
            "uses": self._uses,
            "counters": np.array([self._counted, self._n_batches, self._arrived], dtype=np.int64),
        }

    def set_arrays(self, arrays: Arrays) -> None:
        """Take back what `arrays` returned."""
        *old, _ = self._statistics
        a, b, s, t = (
            self._there(arrays[name]).view(value.shape)
            for name, value in zip(Statistics._fields, old, strict=False)
        )
        self._statistics = Statistics(a, b, s, t, float(arrays["weight"][0]))
        self._uses = np.array(arrays["uses"], dtype=np.int64)
        counters = (int(count) for count in arrays["counters"])
        self._counted, self._n_batches, self._arrived = counters

    def to(self, device: torch.device) -> DeviceOnline:
        """Return the same state on another device."""
        there = copy(self)
        there.components, there.bias = self.components.to(device), self.bias.to(device)
        there.set_arrays(self.arrays())
        return there


def swept(atoms: Tensor, bias: Tensor, statistics: Statistics, unit_norm: bool) -> Tensor:
    """Return atoms after one block-coordinate sweep.

    Parameters
    ----------
    atoms : Tensor of shape (M, d)
        As they are.
    bias : Tensor of shape (d,)
        The bias.
    statistics : Statistics
        What is minimised.
    unit_norm : bool
        Whether atoms are kept at unit norm.

    Returns
    -------
    Tensor of shape (M, d)
        Each at its optimum given those before it as moved and those after it as they were.
    """
    moved = atoms.clone()
    products, inputs, sums, _, _ = statistics
    precise = wide(atoms.device)
    for first in range(0, len(atoms), SWEEP_BLOCK):
        block = slice(first, first + SWEEP_BLOCK)
        directions = torch.addr(inputs[block], sums[block], bias, alpha=-1)
        directions = directions.addmm_(products[block], moved, alpha=-1)
        span = torch.cat([moved[block], directions]).to(precise)
        own = products[block, block].to(precise)
        known = torch.cat([span @ span.T, torch.nn.functional.pad(own, (0, len(own)))])
        gram, own_host = np.split(known.numpy(force=True).astype(np.float64), [2 * len(own)])
        weights = _one_by_one(gram, own_host[:, : len(own)], unit_norm)
        moved[block] = (torch.from_numpy(weights).to(span) @ span).to(atoms.dtype)
    return moved


def _one_by_one(
    gram: NDArray[np.float64], products: NDArray[np.float64], unit_norm: bool
) -> NDArray[np.float64]:
    """Return the moved atoms of a block, (b, 2b), as sums of old atoms and directions.

    `gram` (2b, 2b) are the inner products of these, `products` (b, b) the block's part of A.
    """
    b = len(products)
    old, directions = np.eye(b, 2 * b), np.eye(b, 2 * b, b)
    moved, steps = old.copy(), np.zeros((b, 2 * b))
    for m in np.flatnonzero(products.diagonal() > FORGOTTEN):
        direction = directions[m] - products[m, :m] @ steps[:m]
        moved[m] = old[m] + direction / products[m, m]
        norm = np.sqrt(max(moved[m] @ gram @ moved[m], 0.0))
        if unit_norm and norm > 0:
            moved[m] /= norm
        steps[m] = moved[m] - old[m]
    return moved
