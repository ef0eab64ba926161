"""sparsify (eai-sparsify): a folder with `cfg.json` and `sae.safetensors`.

    p = (x − b_dec) encoder.weightᵀ + encoder.bias,   x̂ = z W_dec + b_dec

encoder.weight and W_dec (num_latents, d_in); the k largest positive p are the codes. A transcoder
does not subtract b_dec and predicts other activations than it reads; with a skip connection W_skip,
with "groupmax", and in early files with `signed`, the model is another one: all are refused.

References
----------
https://github.com/EleutherAI/sparsify, sparsify/sparse_coder.py and config.py, version 1.3.3
"""

from __future__ import annotations

from pathlib import Path

from icfl._files import replace_files
from icfl.exchange.contents import Contents
from icfl.exchange.reading import find, parse_json, read_safetensors
from icfl.exchange.weights import Weights
from icfl.exchange.writing import json_bytes, refuse, safetensors_bytes

__all__ = ["read", "recognises", "write"]

CONFIG, TENSORS = "cfg.json", "sae.safetensors"


def recognises(path: Path) -> bool:
    """Whether `path` is such a folder, or the weights in one."""
    return find(path, TENSORS) is not None


def read(path: Path, activation: str | None = None) -> Weights:
    """Return the weights in a folder that sparsify wrote."""
    file = path if path.is_file() else path / TENSORS
    config_file = file.with_name(CONFIG)
    config = Contents(parse_json(config_file.read_bytes(), str(config_file)), str(config_file))
    tensors = Contents(read_safetensors(file), str(file))
    config.text("activation", ("topk",), "topk")
    for key in ("transcode", "skip_connection", "signed"):
        if config.flag(key, False):
            config.refuse(key, "only autoencoders with top-k codes are supported")
    tensors.refuse_if_present(["W_skip"], "a skip connection is no part of an autoencoder here")
    m, d = tensors.shape("encoder.weight", ("num_latents", "d_in"))
    if config.count("d_in") != d:
        config.refuse("d_in", f"encoder.weight in {file.name} has {d} columns")
    weights = Weights(
        "topk",
        tensors.array("encoder.weight", {"num_latents": m, "d_in": d}),
        tensors.array("encoder.bias", {"num_latents": m}),
        tensors.matrix("W_dec", {"num_latents": m, "d_in": d}),
        tensors.array("b_dec", {"d_in": d}),
        config.count("k"),
    )
    tensors.nothing_else()
    return weights


def write(weights: Weights, path: Path) -> None:
    """Write a folder that ``SparseCoder.load_from_disk`` reads."""
    refuse(weights, "sparsify", ("topk",))
    weights = weights.rescaled(1.0)
    tensors = {
        "encoder.weight": weights.encoder,
        "encoder.bias": weights.encoder_bias,
        "W_dec": weights.components,
        "b_dec": weights.bias,
    }
    config = {
        "activation": "topk",
        "num_latents": weights.n_components,
        "k": weights.n_nonzero,
        "d_in": weights.n_features,
        "normalize_decoder": True,
        "skip_connection": False,
        "transcode": False,
    }
    replace_files(path, {TENSORS: [safetensors_bytes(tensors)], CONFIG: [json_bytes(config)]})
