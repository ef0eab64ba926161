"""Makes the files beside it: small models, each written and used by the library it is of.

Made with sae-lens 6.54.12, eai-sparsify 1.3.3, dictionary-learning 0.1.0 and saev 0.1.0 from PyPI,
on PyTorch 2.15. Those are far too large to be installed for every test run, so their files and what
they computed are kept. To make them again, in an environment that has the four (the last two
without their dependencies) and jaxtyping and beartype:

    python tests/data/exchange/make.py

Every case is a folder: what the library saved, and `expected.npz` with rows X and the library's
codes and reconstructions of them, all float32.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

HERE = Path(__file__).parent
D, M, K, N = 6, 14, 3, 40


def fill(module: torch.nn.Module) -> None:
    """Give every parameter values of about one, and biases that matter."""
    for parameter in module.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape) * (0.7 if parameter.ndim == 2 else 0.4))


def keep(folder: Path, encode: Callable[..., Any], decode: Callable[..., Any]) -> None:
    X = torch.randn(N, D) * 2 + 0.5
    with torch.no_grad():
        codes = encode(X)
        reconstruction = decode(codes)
    arrays = {"X": X, "codes": codes, "reconstruction": reconstruction}
    np.savez_compressed(folder / "expected.npz", **{k: v.numpy() for k, v in arrays.items()})


def folder_for(name: str) -> Path:
    torch.manual_seed(len(name))
    shutil.rmtree(HERE / name, ignore_errors=True)
    (HERE / name).mkdir()
    return HERE / name


def sae_lens(name: str, architecture: str, **options: Any) -> None:
    from sae_lens.registry import get_sae_class

    sae_class, config_class = get_sae_class(architecture)
    folder = folder_for(name)
    sae = sae_class(config_class(d_in=D, d_sae=M, **options))
    fill(sae)
    if hasattr(sae, "threshold"):
        sae.threshold.data.abs_()
    sae.save_model(folder)
    keep(folder, sae.encode, sae.decode)


def sparsify(name: str) -> None:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # there may be no GPU
    from sparsify import SparseCoder, SparseCoderConfig

    folder = folder_for(name)
    sae = SparseCoder(D, SparseCoderConfig(num_latents=M, k=K))
    fill(sae)
    sae.save_to_disk(folder)

    def encode(X: torch.Tensor) -> torch.Tensor:
        acts, indices, _ = sae.encode(X)
        return torch.zeros(len(X), M).scatter_(1, indices, acts)

    keep(folder, encode, lambda codes: sae.decode(*codes.topk(K)))


def dictionary_learning(name: str, dict_class: str, module: str, **options: Any) -> None:
    for absent in ("nnsight", "circuitsvis", "umap", "llvmlite", "zstandard", "datasets"):
        sys.modules.setdefault(absent, MagicMock())
    found = importlib.import_module(f"dictionary_learning.{module}")
    folder = folder_for(name)
    sae = getattr(found, dict_class)(D, M, **options)
    fill(sae)
    if hasattr(sae, "threshold") and dict_class != "AutoEncoderTopK":
        sae.threshold.data = sae.threshold.data.abs() * 0 + 0.3 * torch.rand(sae.threshold.shape)
    torch.save(sae.state_dict(), folder / "ae.pt")
    trainer = {"dict_class": dict_class, "k": options.get("k"), "dict_size": M}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer}))
    sae = getattr(found, dict_class).from_pretrained(folder / "ae.pt")
    keep(folder, sae.encode, sae.decode)


def saev(name: str) -> None:
    from saev import config, nn

    folder = folder_for(name)
    sae = nn.SparseAutoencoder(config.SparseAutoencoder(d_vit=D, exp_factor=2))
    fill(sae)
    nn.dump(str(folder / "sae.pt"), sae)
    sae = nn.load(str(folder / "sae.pt"))
    keep(folder, lambda X: sae(X)[1], lambda codes: codes @ sae.W_dec + sae.b_dec)


if __name__ == "__main__":
    sae_lens("sae_lens_topk", "topk", k=K)
    sae_lens(
        "sae_lens_topk_rescaled",
        "topk",
        k=K,
        rescale_acts_by_decoder_norm=True,
        apply_b_dec_to_input=False,
    )
    sae_lens("sae_lens_abstopk", "abstopk", k=K)
    sae_lens("sae_lens_unit_norm", "standard", normalize_activations="constant_norm_rescale")
    sae_lens("sae_lens_jumprelu", "jumprelu")
    sparsify("sparsify")
    dictionary_learning("dictionary_learning_relu", "AutoEncoder", "dictionary")
    dictionary_learning("dictionary_learning_new", "AutoEncoderNew", "dictionary")
    dictionary_learning("dictionary_learning_jump", "JumpReluAutoEncoder", "dictionary")
    dictionary_learning("dictionary_learning_topk", "AutoEncoderTopK", "trainers.top_k", k=K)
    dictionary_learning("dictionary_learning_batch", "BatchTopKSAE", "trainers.batch_top_k", k=K)
    dictionary_learning(
        "dictionary_learning_matryoshka",
        "MatryoshkaBatchTopKSAE",
        "trainers.matryoshka_batch_top_k",
        k=K,
        group_sizes=[2, 4, 8],
    )
    saev("saev")
