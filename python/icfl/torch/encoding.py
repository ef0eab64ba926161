"""Encoding on a device: what each coder does, on tensors.

Adding a coder is a function of its own, registered for its class. Codes come as (n, M) tensors of a
part of the rows, and leave as compressed rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from icfl.autoencoders.jump_relu import Gated
from icfl.coding.coders import (
    Above,
    BlockPursuit,
    Codes,
    OrthogonalPursuit,
    OwnThresholds,
    Pursuit,
    TopK,
)
from icfl.exceptions import InputError
from icfl.torch.adam import Tensors
from icfl.torch.memory import rows_at_once
from icfl.torch.orthogonal import pursuit_of
from icfl.torch.selection import largest

__all__ = ["Encoder", "Piece", "decode"]


class Encoder:
    """A coder with the arrays it works on.

    Parameters
    ----------
    coder : Coder
        A value of `icfl.coding.coders` or of an autoencoder.
    arrays : dict of str to Tensor
        Fitted arrays: "components" and "bias", of an autoencoder also its encoder.
    gram_budget : int
        Bytes that the Gram matrix of pursuit may take.
    n_rows : int
        Rows that will be encoded in all; decides whether the Gram matrix is worth its cost.
    """

    def __init__(self, coder: Any, arrays: Tensors, gram_budget: int, n_rows: int) -> None:
        self._coder = coder
        self._shape = arrays["components"].shape
        self._encode = _encoder(coder, arrays, gram_budget, n_rows)

    def encode(self, x: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield parts of prepared rows with their codes, shape (rows, M)."""
        step = rows_at_once(self._shape, getattr(self._coder, "atoms_per_iteration", 1))
        for start in range(0, len(x), step):
            place = slice(start, min(start + step, len(x)))
            yield place, self._encode(x[place])


@singledispatch
def _encoder(coder: Any, arrays: Tensors, gram_budget: int, n_rows: int) -> Any:
    raise InputError(f"the PyTorch backend knows no coder {type(coder).__name__}")


def _scores(arrays: Tensors, x: Tensor) -> Tensor:
    return linear(x - arrays["bias"], arrays["encoder"], arrays["encoder_bias"])


@_encoder.register
def _top(coder: TopK, arrays: Tensors, gram_budget: int, n_rows: int) -> Any:
    def encode(x: Tensor) -> Tensor:
        scores = _scores(arrays, x)
        absolute = coder.selection == "absolute"
        count = min(coder.n_nonzero, scores.shape[1])
        _, places = largest(scores.abs() if absolute else scores, count)
        kept = scores.gather(1, places)
        return torch.zeros_like(scores).scatter_(1, places, kept if absolute else kept.relu())

    return encode


@_encoder.register
def _above(coder: Above, arrays: Tensors, gram_budget: int, n_rows: int) -> Any:
    def encode(x: Tensor) -> Tensor:
        scores = _scores(arrays, x)
        return torch.where(scores > coder.threshold, scores, 0)

    return encode


@_encoder.register
def _gated(coder: Gated, arrays: Tensors, gram_budget: int, n_rows: int) -> Any:
    thresholds = arrays["threshold"]

    def encode(x: Tensor) -> Tensor:
        scores = _scores(arrays, x)
        return torch.where(scores > thresholds, scores, 0)

    return encode


@_encoder.register(BlockPursuit)
@_encoder.register(OrthogonalPursuit)
@_encoder.register(OwnThresholds)
def _pursuit(coder: Pursuit | OwnThresholds, arrays: Tensors, gram_budget: int, n_rows: int) -> Any:
    products = n_rows * (coder.rounds - 1)
    return pursuit_of(coder, arrays["components"], arrays["bias"], gram_budget, products).encode


def decode(codes: Tensor, arrays: Tensors) -> Tensor:
    """Return what codes stand for: codes · components + bias, shape (n, d)."""
    return codes @ arrays["components"] + arrays["bias"]


class Piece(NamedTuple):
    """Compressed rows on their device: non-zeros of each row, their columns and values."""

    counts: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> Piece:
        """Compress codes, shape (rows, M)."""
        active = codes != 0
        places = active.nonzero(as_tuple=True)
        return cls(active.sum(dim=1), places[1], codes[places])

    @classmethod
    def join(cls, pieces: list[Piece]) -> Piece:
        """Put pieces one after the other."""
        return cls(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))

    @property
    def starts(self) -> Tensor:
        """Where each row begins among the values, and where the last one ends."""
        return torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])

    def on_host(self) -> Codes:
        """Return them in main memory."""
        return (
            self.starts.numpy(force=True),
            self.columns.numpy(force=True).astype(np.int32),
            self.values.numpy(force=True),
        )

    def tensor(self, n_components: int) -> Tensor:
        """Return them as a sparse CSR tensor."""
        with warnings.catch_warnings():
            # PyTorch says of every first one that sparse CSR tensors are in beta state.
            warnings.filterwarnings("ignore", ".*CSR.*beta", UserWarning)
            return torch.sparse_csr_tensor(
                self.starts,
                self.columns,
                self.values,
                (len(self.counts), n_components),
                check_invariants=False,
            )
