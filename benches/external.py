"""Print how much faster an autoencoder of SAELens or sparsify encodes once icfl has loaded it.

The library writes the file, `icfl.load_external` reads it, codes are compared, then both encode the
same rows in turn, on all cores. Needs `pip install sae-lens eai-sparsify`.

    python benches/external.py                      d = 1,024, 8,192 latents, k = 64
    python benches/external.py --d 768 --M 12288 --k 32
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import icfl
from speed.inputs import planted

REST = 0.3
"""Seconds between two timings: threads of OpenMP spin for a while after their work."""


def main() -> None:
    """Write, load, compare, time and print."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in {"d": 1024, "M": 8192, "k": 64, "n": 8192, "repetitions": 5}.items():
        arguments.add_argument(f"--{name}", type=int, default=value)
    options = arguments.parse_args()
    problem = planted(options.n, options.d, options.M, options.d // 16)
    for name, write in {"SAELens": sae_lens, "eai-sparsify": sparsify}.items():
        with tempfile.TemporaryDirectory() as folder:
            theirs = write(problem.components, options.k, folder)
            ours = icfl.load_external(folder)
        share = agreement(ours, theirs, problem.X[:512])
        ratios, rates = [], []
        for _ in range(options.repetitions):
            seconds = [timed(ours.transform, problem.X), timed(theirs, problem.X)]
            ratios.append(seconds[1] / seconds[0])
            rates.append([options.n / taken for taken in seconds])
        mine, other = np.median(rates, axis=0)
        print(
            f"{name}: icfl {mine:,.0f} rows/s, {name} {other:,.0f}; "
            f"{median(ratios):.1f} times as fast ({min(ratios):.1f} to {max(ratios):.1f}); "
            f"same supports in {share:.1%} of rows"
        )


Encode = Callable[[NDArray[np.float32]], Tensor]


def sae_lens(D: NDArray[np.float32], k: int, folder: str) -> Encode:
    """Write a SAELens TopK autoencoder and return its own encoding, dense."""
    from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig

    sae = TopKSAE(TopKSAEConfig(d_in=D.shape[1], d_sae=len(D), k=k, device="cpu"))
    sae.W_enc.data, sae.W_dec.data = torch.from_numpy(D.T.copy()), torch.from_numpy(D.copy())
    sae.save_model(folder)

    @torch.inference_mode()
    def encode(X: NDArray[np.float32]) -> Tensor:
        return torch.cat([sae.encode(rows) for rows in torch.from_numpy(X).split(1024)])

    return encode


def sparsify(D: NDArray[np.float32], k: int, folder: str) -> Encode:
    """Write a sparsify autoencoder and return its own encoding, which gives indices."""
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    coder = SparseCoder(D.shape[1], SparseCoderConfig(num_latents=len(D), k=k))
    coder.encoder.weight.data, coder.W_dec.data = torch.from_numpy(D.copy()), torch.from_numpy(D)
    coder.save_to_disk(folder)

    @torch.inference_mode()
    def encode(X: NDArray[np.float32]) -> Tensor:
        found = [coder.encode(rows)[:2] for rows in torch.from_numpy(X).split(1024)]
        return torch.cat([indices for _, indices in found])

    return encode


def agreement(ours: icfl.TopKSAE, theirs: Encode, X: NDArray[np.float32]) -> float:
    """Return the share of rows with the same latents."""
    Z, found = ours.transform(X), theirs(X)
    dense = found.shape[1] == Z.shape[1]
    rows = found.numpy() if dense else np.zeros(Z.shape, np.float32)
    if not dense:
        np.put_along_axis(rows, found.numpy(), 1.0, axis=1)
    return float(((rows != 0) == (Z.toarray() != 0)).all(axis=1).mean())


def timed(work: Callable[[NDArray[np.float32]], object], X: NDArray[np.float32]) -> float:
    """Return the seconds of one call, after a rest."""
    time.sleep(REST)
    start = time.perf_counter()
    work(X)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
