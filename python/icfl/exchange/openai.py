"""openai/sparse_autoencoder: one `.pt` file with a state dict.

    p = (n(x) − pre_bias) encoder.weightᵀ + latent_bias,   x̂ = n⁻¹(z decoder.weightᵀ + pre_bias)

encoder.weight (n_latents, n_inputs), decoder.weight (n_inputs, n_latents), `activation` the name of
a class and `activation_state_dict` with its k. With "TopK", and only then, n standardises every
row; that is left to the caller. Statistics of training (`stats_last_nonzero`, …) are left out.

References
----------
https://github.com/openai/sparse_autoencoder, sparse_autoencoder/model.py, commit 4965b94
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from icfl._files import replace_file
from icfl.exceptions import InputError
from icfl.exchange.contents import Contents
from icfl.exchange.reading import find_torch, mentions, read_torch
from icfl.exchange.weights import Weights
from icfl.exchange.writing import refuse, torch_bytes

__all__ = ["read", "recognises", "write"]

STATISTICS = ("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
# PyTorch's own walk through the modules repeats these beside `activation_state_dict`.
REPEATED = ("activation.k", "activation.postact_fn")
NORMALISATION = "(x - mean) / (std + 1e-5) of each row, std with n - 1"


def recognises(path: Path) -> bool:
    """Whether `path` is a torch file with a `pre_bias`, or a folder with one."""
    file = find_torch(path)
    return file is not None and mentions(file, "pre_bias")


def read(path: Path, activation: str | None = None) -> Weights:
    """Return the weights in a file of openai/sparse_autoencoder."""
    file = find_torch(path) or path
    state = Contents(read_torch(file.read_bytes(), str(file)), str(file))
    state.refuse_if_present(["decoder.linear.weight"], "a tied decoder is not supported")
    topk = state.text("activation", ("ReLU", "TopK"), "ReLU") == "TopK"
    n_nonzero = _k(state, file) if topk else None
    m, d = state.shape("encoder.weight", ("n_latents", "n_inputs"))
    weights = Weights(
        "topk" if topk else "batch_topk",
        state.array("encoder.weight", {"n_latents": m, "n_inputs": d}),
        state.array("latent_bias", {"n_latents": m}),
        state.matrix("decoder.weight", {"n_inputs": d, "n_latents": m}).T.copy(),
        state.array("pre_bias", {"n_inputs": d}),
        n_nonzero,
        None if topk else np.zeros((), np.float32),
        inputs="normalised" if topk else "raw",
        normalisation=NORMALISATION if topk else "",
    )
    state.nothing_else((*STATISTICS, *REPEATED, "activation_state_dict"))
    return weights


def write(weights: Weights, path: Path) -> None:
    """Write a file that ``Autoencoder.from_state_dict`` takes."""
    topk = weights.activation == "topk"
    if topk and weights.inputs != "normalised":
        raise InputError(
            f"inputs: openai/sparse_autoencoder gives TopK models rows {NORMALISATION}; if the "
            "model was fitted on such rows pass inputs='normalised', else use another format"
        )
    if not topk:
        refuse(weights, "openai", ("batch_topk",))
        if not weights.is_relu:
            raise InputError("model: the layout of openai has no threshold, and this one has")
    weights = weights.rescaled(1.0)
    m = weights.n_components
    state = {
        "pre_bias": weights.bias,
        "latent_bias": weights.encoder_bias,
        "encoder.weight": weights.encoder,
        "decoder.weight": weights.components.T.copy(),
        "stats_last_nonzero": np.zeros(m, np.int64),
        "latents_activation_frequency": np.ones(m, np.float32),
        "latents_mean_square": np.zeros(m, np.float32),
        "activation": "TopK" if topk else "ReLU",
        "activation_state_dict": {"k": weights.n_nonzero, "postact_fn": "ReLU"} if topk else {},
    }
    replace_file(path, [torch_bytes(state)])


def _k(state: Contents, file: Path) -> int:
    inner = state.mapping("activation_state_dict")
    settings = Contents(inner, f"{file}: activation_state_dict")
    # "Identity" would also keep negative codes, of rows with fewer than k positive ones.
    settings.text("postact_fn", ("ReLU",), "ReLU")
    return settings.count("k")
