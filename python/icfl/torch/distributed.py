"""Several processes as one: sums over all of them, where there are several.

Losses are sums over rows divided by what all processes have, so gradients add up; all that is
decided (which latents are dead, which atoms are replaced) is decided from such sums and is the same
everywhere. Collectives run on the device of their tensors: NCCL for CUDA, Gloo for the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

__all__ = ["Group"]


@dataclass(frozen=True)
class Group:
    """Processes that learn together; alone, nothing is communicated.

    Attributes
    ----------
    process_group : torch.distributed.ProcessGroup or None
        As PyTorch knows them; None is the default group.
    size, rank : int
        Number of processes, and which one this is.
    """

    process_group: Any = None
    size: int = 1
    rank: int = 0

    @classmethod
    def of(cls, process_group: Any) -> Group:
        """Return a group as given, else the default one where there is one."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(
            process_group,
            distributed.get_world_size(process_group),
            distributed.get_rank(process_group),
        )

    def sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor, group=self.process_group)

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, self._first, group=self.process_group)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, in their order; only first dimensions may differ."""
        if self.size == 1:
            return [tensor]
        heights = self._gather_equal(torch.tensor([len(tensor)], device=tensor.device))
        most = max(int(height) for height in heights)
        padded = tensor.new_zeros((most, *tensor.shape[1:]))
        padded[: len(tensor)] = tensor
        parts = self._gather_equal(padded)
        return [part[: int(height)] for part, height in zip(parts, heights, strict=True)]

    def tensor(self, numbers: NDArray[np.float64]) -> Tensor:
        """Return numbers where these processes can exchange them."""
        backend = distributed.get_backend(self.process_group) if self.size > 1 else ""
        return torch.tensor(numbers, device="cuda" if backend == "nccl" else "cpu")

    def _gather_equal(self, tensor: Tensor) -> list[Tensor]:
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        distributed.all_gather(parts, tensor, group=self.process_group)
        return parts

    @property
    def _first(self) -> int:
        """The first process of the group, as all processes together count it."""
        if self.process_group is None:
            return 0
        return int(distributed.get_global_rank(self.process_group, 0))
