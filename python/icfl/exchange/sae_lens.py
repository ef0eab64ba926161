"""SAELens: a folder with `cfg.json` and `sae_weights.safetensors`.

    p = (n(x) − b_dec) W_enc + b_enc,   x̂ = n⁻¹(z W_dec + b_dec)

W_enc (d_in, d_sae), W_dec (d_sae, d_in); b_dec is subtracted if `apply_b_dec_to_input`. n is
`normalize_activations`: "constant_norm_rescale" is x·√d_in / ‖x‖, which is unit norm and an input
scale. `rescale_acts_by_decoder_norm` multiplies p by the norms of the rows of W_dec and divides
them by these again. What SAELens trains as BatchTopK it saves as "jumprelu" with equal thresholds.
Files of before version 6 say "activation_fn_str" and "activation_fn_kwargs" for "architecture".

References
----------
https://github.com/decoderesearch/SAELens, sae_lens/saes and sae_lens/loading, version 6.54
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from icfl._files import replace_files
from icfl.exceptions import InputError
from icfl.exchange.contents import Contents
from icfl.exchange.reading import find, parse_json, read_safetensors
from icfl.exchange.weights import Activation, Inputs, Weights, with_bias_subtracted
from icfl.exchange.writing import WRITTEN_WITH, json_bytes, safetensors_bytes

__all__ = ["read", "recognises", "write"]

CONFIG, TENSORS = "cfg.json", "sae_weights.safetensors"
LAYOUT_VERSION = "6.0.0"
"""The version whose configuration is written; SAELens takes older ones for the layout before."""

_ARCHITECTURES: dict[str, Activation] = {
    "standard": "batch_topk",
    "topk": "topk",
    "abstopk": "abs_topk",
    "jumprelu": "jump_relu",
}
_OUTSIDE = {
    "layer_norm": "(x - mean) / (std + 1e-5) of each row, std with n - 1",
    "expected_average_only_in": "rows times √d_in / their mean norm",
    "covariance_whitening": "the whitening that was fitted in training",
}


def recognises(path: Path) -> bool:
    """Whether `path` is such a folder, or the weights in one."""
    return find(path, TENSORS) is not None


def read(path: Path, activation: str | None = None) -> Weights:
    """Return the weights in a folder that SAELens wrote."""
    file = path if path.is_file() else path / TENSORS
    config_file = file.with_name(CONFIG)
    config = Contents(
        _modern(parse_json(config_file.read_bytes(), str(config_file))), str(config_file)
    )
    tensors = Contents(read_safetensors(file), str(file))
    kind = _ARCHITECTURES[config.text("architecture", _ARCHITECTURES)]
    _check_scaling_factors(config, tensors)
    d, m = config.count("d_in"), config.count("d_sae")
    encoder = tensors.array("W_enc", {"d_in": d, "d_sae": m}).T.copy()
    bias = tensors.array("b_dec", {"d_in": d})
    encoder_bias = tensors.array("b_enc", {"d_sae": m})
    if not config.flag("apply_b_dec_to_input", True):
        encoder_bias = with_bias_subtracted(encoder, encoder_bias, bias)
    threshold = np.zeros((), np.float32) if kind == "batch_topk" else None
    if kind == "jump_relu":
        threshold = tensors.threshold("threshold", {"d_sae": m})
    normalise = config.text(
        "normalize_activations", ("none", "constant_norm_rescale", *_OUTSIDE), "none"
    )
    inputs: Inputs = "raw" if normalise == "none" else "normalised"
    if normalise == "constant_norm_rescale":
        inputs = "unit_norm"
    weights = Weights(
        kind,
        encoder,
        encoder_bias,
        tensors.matrix("W_dec", {"d_sae": m, "d_in": d}),
        bias,
        config.count("k") if kind in ("topk", "abs_topk") else None,
        threshold,
        scale=math.sqrt(d) if inputs == "unit_norm" else 1.0,
        inputs=inputs,
        normalisation=_OUTSIDE.get(normalise, ""),
    )
    tensors.nothing_else()
    if config.flag("rescale_acts_by_decoder_norm", False):
        if kind not in ("topk", "abs_topk"):
            config.refuse("rescale_acts_by_decoder_norm", "expected it with top-k only")
        weights = _with_unit_atoms(weights, tensors)
    return weights


def write(weights: Weights, path: Path) -> None:
    """Write a folder that ``SAE.load_from_disk`` reads."""
    if weights.inputs == "normalised":
        raise InputError("inputs: the layout of sae_lens takes rows as they are, use 'raw'")
    unit_norm = weights.inputs == "unit_norm"
    weights = weights.rescaled(math.sqrt(weights.n_features) if unit_norm else 1.0)
    d, m = weights.n_features, weights.n_components
    tensors = {
        "W_enc": weights.encoder.T,
        "b_enc": weights.encoder_bias,
        "W_dec": weights.components,
        "b_dec": weights.bias,
    }
    config: dict[str, Any] = {
        "architecture": "jumprelu",
        "d_in": d,
        "d_sae": m,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "constant_norm_rescale" if unit_norm else "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT_VERSION, "written_with": WRITTEN_WITH},
    }
    if weights.is_relu:
        config["architecture"] = "standard"
    elif weights.threshold is not None:
        tensors["threshold"] = np.broadcast_to(weights.threshold, m)
    else:
        config["architecture"] = weights.activation.replace("_", "")
        config |= {"k": weights.n_nonzero, "rescale_acts_by_decoder_norm": False}
    replace_files(path, {TENSORS: [safetensors_bytes(tensors)], CONFIG: [json_bytes(config)]})


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in the words of version 6."""
    activation = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    architecture = config.get("architecture", "standard")
    if activation == "topk":
        kwargs = config.get("activation_fn_kwargs")
        architecture = "topk"
        config = {"k": kwargs.get("k") if isinstance(kwargs, dict) else None} | config
    elif activation != "relu":
        architecture = f"{architecture} with {activation}"
    normalise = config.get("normalize_activations")
    if normalise is None or isinstance(normalise, bool):
        normalise = "expected_average_only_in" if normalise else "none"
    return config | {"architecture": architecture, "normalize_activations": normalise}


def _check_scaling_factors(config: Contents, tensors: Contents) -> None:
    """Let those pass that are one, which older versions wrote whether or not they were used."""
    m = config.count("d_sae")
    if "scaling_factor" in tensors and np.any(tensors.array("scaling_factor", {"d_sae": m}) != 1):
        tensors.refuse("scaling_factor", "fine-tuned scales of codes are not supported")
    if config.flag("finetuning_scaling_factor", False) and "scaling_factor" not in tensors:
        config.refuse("finetuning_scaling_factor", "fine-tuned scales of codes are not supported")


def _with_unit_atoms(weights: Weights, tensors: Contents) -> Weights:
    if not weights.atom_norms.all():
        tensors.refuse("W_dec", "a row is zero, which rescale_acts_by_decoder_norm divides by")
    return weights.with_latents_scaled(weights.atom_norms)
