"""Samples per second on a GPU: TopKSAE and ICFL beside plain PyTorch that does the same.

What is timed: training on tensors that are on the GPU already, the whole step, and encoding to a
sparse CSR tensor there. Plain PyTorch is what one writes: for the autoencoder autograd on dense
codes with ``torch.optim.Adam``, for ICFL the published algorithm with a product of residuals and
dictionary in every round. Answers are compared before anything is timed: supports of codes with
those of the compiled code, explained variance after training with that of plain PyTorch.

    python benches/gpu.py                                      M = 16,384, d = 1,024
    python benches/gpu.py --precision bfloat16 --json gpu.json
    python benches/gpu.py --device cpu --M 64 --d 16 --batch 64 --batches 4    that it runs
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import icfl
from icfl.autoencoders import TopKSAE
from icfl.torch import TorchBackend
from speed.machine import describe_machine, versions
from speed.peers.plain_icfl import PlainICFL
from speed.peers.pytorch import LiteralPursuit
from speed.peers.topk_sae import TopKAutoencoder

NONZEROS = 32
ROUNDS, BLOCK = 8, 4
RATE = 1e-3
CHECKED_ROWS = 256
SAME_SUPPORTS = 0.98
"""Share of the checked rows that must have the same support; the others have near ties."""
ENOUGH = 0.5
"""Share of the explained variance that plain PyTorch gains, which ours has to gain too."""

Step = Callable[[Tensor], object]


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("benches/gpu.py needs a CUDA device, and PyTorch finds none.", file=sys.stderr)
        return 2
    X = planted_rows(options)
    x = torch.from_numpy(X).to(options.device)
    cases = [autoencoder_training, icfl_training, autoencoder_encoding, icfl_encoding]
    results = [case(x, X, options) for case in cases]
    for result in results:
        print(
            f"{result['case']:18} icfl {result['icfl']:12,.0f}/s   "
            f"plain {result['plain']:12,.0f}/s   {result['icfl'] / result['plain']:.2f}x"
        )
    if options.json:
        about = {"machine": describe_machine(), "versions": versions(), "gpu": gpu(options.device)}
        with open(options.json, "w") as file:
            json.dump(about | {"options": vars(options), "results": results}, file, indent=2)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--M", type=int, default=16_384, help="atoms")
    parser.add_argument("--d", type=int, default=1024, help="features")
    parser.add_argument("--batch", type=int, default=4096, help="rows of a mini-batch")
    parser.add_argument("--batches", type=int, default=20, help="mini-batches that are timed")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile for TopKSAE")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--json", metavar="PATH", help="write the results there")
    return parser.parse_args(arguments)


def gpu(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else "none"


def planted_rows(options: argparse.Namespace) -> NDArray[np.float32]:
    """Unit rows, each a positive sum of a few of as many true features as there are atoms."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((options.M, options.d), dtype=np.float32)
    active = min(16, options.M)
    X = 0.05 * rng.standard_normal((options.batch * options.batches, options.d), dtype=np.float32)
    for row in X:
        chosen = rng.integers(0, options.M, active)
        row += rng.uniform(0.5, 1.5, active).astype(np.float32) @ truth[chosen]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X


def autoencoder_training(x: Tensor, X: Any, options: argparse.Namespace) -> dict[str, Any]:
    model = autoencoder(options)
    plain = TopKAutoencoder(first_atoms(X, options), NONZEROS, RATE).to(options.device)
    few = x[: options.batch]
    before = plain_variance(plain, few)
    ours, theirs = time_fit(model, x, options), time_steps(plain.step, x, options)
    after, found = plain_variance(plain, few), model.score(few)
    # Both start at rows of the data; our learning rate falls towards the end.
    enough = before + ENOUGH * (after - before)
    assert found > enough, f"explained variance {found:.3f}, plain from {before:.3f} to {after:.3f}"
    return {"case": "TopKSAE training", "icfl": ours, "plain": theirs}


def icfl_training(x: Tensor, X: Any, options: argparse.Namespace) -> dict[str, Any]:
    # Both encode with all rounds from the first step, and take a step of Adam.
    model = icfl.ICFL(
        options.M, **common(options), **pursuit(), update="adam", learning_rate=RATE, init="data"
    )
    ours = time_fit(model, x, options)
    theirs = time_steps(PlainICFL(first_atoms(X, options), x, ROUNDS, BLOCK, RATE).step, x, options)
    return {"case": "ICFL training", "icfl": ours, "plain": theirs}


def autoencoder_encoding(x: Tensor, X: Any, options: argparse.Namespace) -> dict[str, Any]:
    model = autoencoder(options, max_steps=2).fit(x)
    encoder, bias, atoms = (
        torch.from_numpy(np.array(array)).to(x.device)
        for array in (model.encoder_, model.encoder_bias_, model.bias_)
    )

    def plain(rows: Tensor) -> object:
        return torch.topk(torch.addmm(bias, rows - atoms, encoder.T), NONZEROS, sorted=False)

    few = X[:CHECKED_ROWS]
    compare_supports(model.transform(x[:CHECKED_ROWS]), on_cpu(model).transform(few))
    ours, theirs = (time_steps(run, x, options) for run in (model.transform, plain))
    return {"case": "TopKSAE encoding", "icfl": ours, "plain": theirs}


def icfl_encoding(x: Tensor, X: Any, options: argparse.Namespace) -> dict[str, Any]:
    model = icfl.ICFL(options.M, **common(options, max_steps=2), **pursuit(), init="data").fit(x)
    atoms = torch.from_numpy(np.array(model.components_)).to(x.device)
    bias = torch.from_numpy(np.array(model.bias_)).to(x.device)
    literal = LiteralPursuit(np.array(model.components_), ROUNDS, BLOCK, options.batch)

    def plain(rows: Tensor) -> object:
        with torch.inference_mode():
            return literal.encode(rows - bias, atoms)

    few = X[:CHECKED_ROWS]
    compare_supports(model.transform(x[:CHECKED_ROWS]), on_cpu(model).transform(few))
    ours, theirs = (time_steps(run, x, options) for run in (model.transform, plain))
    return {"case": "ICFL encoding", "icfl": ours, "plain": theirs}


def common(options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    return {
        "batch_size": options.batch,
        "max_iter": None,
        "max_steps": options.batches * (1 + options.repetitions),
        "random_state": 0,
        "backend": TorchBackend(
            options.device, precision=options.precision, compile=options.compile
        ),
    } | changes


def pursuit() -> dict[str, Any]:
    return {"n_iterations": ROUNDS, "atoms_per_iteration": BLOCK, "refit": "block"}


def autoencoder(options: argparse.Namespace, **changes: Any) -> TopKSAE:
    return TopKSAE(options.M, n_nonzero=NONZEROS, learning_rate=RATE, **common(options, **changes))


def first_atoms(X: NDArray[np.float32], options: argparse.Namespace) -> NDArray[np.float32]:
    """Rows of the data without their mean, as our learners start."""
    rng = np.random.default_rng(1)
    rows = X[rng.choice(len(X), options.M, replace=len(X) < options.M)] - X.mean(axis=0)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def on_cpu(model: Any) -> Any:
    """The same fitted model, encoding with the compiled code."""
    return type(model).from_state(*model.get_state())


def compare_supports(found: Tensor, expected: Any) -> None:
    ours = found.to_dense().cpu().numpy() != 0
    same = float((ours == (expected.toarray() != 0)).all(axis=1).mean())
    assert same >= SAME_SUPPORTS, f"only {same:.1%} of the supports are those of the compiled code"


def plain_variance(plain: TopKAutoencoder, x: Tensor) -> float:
    with torch.no_grad():
        before = torch.addmm(plain.latent_bias, x - plain.bias, plain.encoder.T)
        values, places = before.topk(NONZEROS, dim=1)
        z = torch.zeros_like(before).scatter_(1, places, values.relu())
        rest = x - z @ plain.decoder - plain.bias
        return 1 - float(rest.square().sum() / (x - x.mean(dim=0)).square().sum())


def time_fit(model: Any, x: Tensor, options: argparse.Namespace) -> float:
    """Samples per second of a fit's steps, without the first pass."""
    ends: list[float] = []

    def note(progress: Any) -> None:
        if progress.step % options.batches == 0:
            synchronise(x)
            ends.append(time.perf_counter())

    model.fit(x, callback=note)
    return len(x) / median(b - a for a, b in itertools.pairwise(ends))


def time_steps(step: Step, x: Tensor, options: argparse.Namespace) -> float:
    """Samples per second of a call for every mini-batch, without the first pass."""
    seconds = []
    for _ in range(1 + options.repetitions):
        start = time.perf_counter()
        for rows in x.split(options.batch):
            step(rows)
        synchronise(x)
        seconds.append(time.perf_counter() - start)
    return len(x) / median(seconds[1:])


def synchronise(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
