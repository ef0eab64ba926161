"""dictionary_learning, and InterPLM that began with it: `ae.pt`, `config.json` or `config.yaml`.

    p = (x − b) encoder.weightᵀ + encoder.bias,   x̂ = z decoder.weightᵀ + b

encoder.weight (F, D), decoder.weight (D, F). The names show which class it is: b is `bias` of a
ReLU model, `b_dec` of the top-k ones, `decoder.bias` where b is not subtracted. The classes with
`W_enc` (D, F), `W_dec` (F, D) are JumpReLU, which does not subtract b_dec, and with `group_sizes`
Matryoshka. TopK and BatchTopK have the same names: the configuration tells, or the caller.
dictionary_learning loads its ReLU class with rows of the decoder scaled to unit norm, codes
accordingly; so does this. InterPLM's `normalize_to_sqrt_d` is x·√D / ‖x‖ in ``forward``; its
`activation_rescale_factor` divides codes on request only, and is left out.

References
----------
https://github.com/saprmarks/dictionary_learning, dictionary.py, utils.py, trainers, version 0.1.0
https://github.com/ElanaPearl/InterPLM, interplm/sae/dictionary.py, commit 5f4cbf9
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from icfl._files import replace_files
from icfl.exceptions import InputError
from icfl.exchange.contents import Contents
from icfl.exchange.reading import find_torch, mentions, parse_json, read_torch
from icfl.exchange.weights import (
    Activation,
    Weights,
    with_bias_subtracted,
    without_bias_subtracted,
)
from icfl.exchange.writing import WRITTEN_WITH, json_bytes, refuse, torch_bytes

__all__ = ["read", "recognises", "write"]

TENSORS, CONFIG, YAML = "ae.pt", "config.json", "config.yaml"

_RELU = "AutoEncoder"
_TOPK: dict[str, Activation] = {
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batch_topk",
    "TopKTrainerConfig": "topk",
    "BatchTopKTrainerConfig": "batch_topk",
}
_GATED = ("r_mag", "gate_bias", "mag_bias")
# One line of InterPLM's YAML names the class; nothing of it is interpreted.
_TRAINER = re.compile(rb"^trainer_cfg: !!python/object:[\w.]*\.(\w+)\s*$", re.MULTILINE)


def recognises(path: Path) -> bool:
    """Whether `path` is a torch file with such names, or a folder with one."""
    file = find_torch(path, TENSORS)
    if file is None or mentions(file, "pre_bias"):
        return False
    return mentions(file, "encoder.weight") or mentions(file, "W_enc")


def read(path: Path, activation: str | None = None) -> Weights:
    """Return the weights in a file that dictionary_learning or InterPLM wrote."""
    file = find_torch(path, TENSORS) or path / TENSORS
    state = Contents(read_torch(file.read_bytes(), str(file)), str(file))
    state.refuse_if_present(_GATED, "gated autoencoders are not supported")
    trained_as = _class_of(file)
    if "W_enc" in state:
        weights = _read_matryoshka(state) if "group_sizes" in state else _read_jump_relu(state)
    else:
        weights = _read_linear(state, _TOPK.get(trained_as, activation))
    if "normalize_to_sqrt_d" in state and state.flag("normalize_to_sqrt_d"):
        weights = replace(weights, scale=math.sqrt(weights.n_features), inputs="unit_norm")
    state.nothing_else(("activation_rescale_factor", "normalize_to_sqrt_d", "threshold"))
    if trained_as != _RELU:
        return weights
    if not weights.atom_norms.all():
        state.refuse("decoder.weight", "a column is zero, which cannot be scaled to unit norm")
    return weights.with_latents_scaled(weights.atom_norms)


def write(weights: Weights, path: Path) -> None:
    """Write a folder that ``dictionary_learning.utils.load_dictionary`` reads."""
    refuse(weights, "dictionary_learning", ("topk", "batch_topk", "jump_relu"))
    weights = weights.rescaled(1.0)
    if weights.activation == "jump_relu" or weights.widths:
        name, state = _matrices(weights)
    else:
        name = "AutoEncoderTopK" if weights.activation == "topk" else "BatchTopKSAE"
        state = {
            "encoder.weight": weights.encoder,
            "encoder.bias": weights.encoder_bias,
            "decoder.weight": weights.components.T.copy(),
            "b_dec": weights.bias,
        }
    trainer: dict[str, Any] = {
        "dict_class": name,
        "activation_dim": weights.n_features,
        "dict_size": weights.n_components,
        "written_with": WRITTEN_WITH,
    }
    if weights.activation != "jump_relu":
        trainer["k"] = weights.n_nonzero
        state["k"] = np.array(weights.n_nonzero, np.int32)
        # −1 is what the library has before it has seen data.
        state["threshold"] = np.float32(-1) if weights.threshold is None else weights.threshold
        state["threshold"] = np.asarray(state["threshold"], np.float32)
    config = json_bytes({"trainer": trainer})
    replace_files(path, {TENSORS: [torch_bytes(state)], CONFIG: [config]})


def _class_of(file: Path) -> str:
    """Return what the configuration beside a file calls the class; empty if it says nothing."""
    if file.with_name(CONFIG).is_file():
        source = file.with_name(CONFIG)
        trainer = parse_json(source.read_bytes(), str(source)).get("trainer")
        name = trainer.get("dict_class", "") if isinstance(trainer, dict) else ""
        return name if isinstance(name, str) else ""
    if file.with_name(YAML).is_file():
        found = _TRAINER.search(file.with_name(YAML).read_bytes())
        return found[1].decode() if found else ""
    return ""


def _read_linear(state: Contents, activation: str | None) -> Weights:
    m, d = state.shape("encoder.weight", ("dict_size", "activation_dim"))
    encoder = state.array("encoder.weight", {"dict_size": m, "activation_dim": d})
    encoder_bias = state.array("encoder.bias", {"dict_size": m})
    components = state.matrix("decoder.weight", {"activation_dim": d, "dict_size": m}).T.copy()
    name = next((key for key in ("bias", "b_dec", "decoder.bias") if key in state), "b_dec")
    bias = state.array(name, {"activation_dim": d})
    if name == "decoder.bias":
        encoder_bias = with_bias_subtracted(encoder, encoder_bias, bias)
    if "k" not in state:
        kind: Activation = "jump_relu" if "threshold" in state else "batch_topk"
        axes = {"dict_size": m}
        zero = np.zeros((), np.float32)
        thresholds = state.threshold("threshold", axes) if kind == "jump_relu" else zero
        return Weights(kind, encoder, encoder_bias, components, bias, threshold=thresholds)
    if activation not in ("topk", "batch_topk"):
        state.refuse(
            "k", f"TopK and BatchTopK have the same names and no {CONFIG} says which it is; "
            "pass activation='topk' or 'batch_topk'"
        )  # fmt: skip
    kind = "topk" if activation == "topk" else "batch_topk"
    threshold = None if kind == "topk" else state.threshold("threshold", {})
    k = state.count("k")
    return Weights(kind, encoder, encoder_bias, components, bias, k, threshold)


def _read_matryoshka(state: Contents) -> Weights:
    encoder, encoder_bias, components, bias = _read_matrices(state)
    widths = tuple(accumulate(state.counts("group_sizes")))
    if widths[-1] != len(encoder):
        state.refuse(
            "group_sizes", f"they add up to {widths[-1]}, W_enc has {len(encoder)} latents"
        )
    k, threshold = state.count("k"), state.threshold("threshold", {})
    return Weights("batch_topk", encoder, encoder_bias, components, bias, k, threshold, widths)


def _read_jump_relu(state: Contents) -> Weights:
    encoder, encoder_bias, components, bias = _read_matrices(state)
    threshold = state.threshold("threshold", {"dict_size": len(encoder)})
    encoder_bias = with_bias_subtracted(encoder, encoder_bias, bias)
    return Weights("jump_relu", encoder, encoder_bias, components, bias, threshold=threshold)


def _read_matrices(state: Contents) -> tuple[Any, Any, Any, Any]:
    d, m = state.shape("W_enc", ("activation_dim", "dict_size"))
    return (
        state.array("W_enc", {"activation_dim": d, "dict_size": m}).T.copy(),
        state.array("b_enc", {"dict_size": m}),
        state.matrix("W_dec", {"dict_size": m, "activation_dim": d}),
        state.array("b_dec", {"activation_dim": d}),
    )


def _matrices(weights: Weights) -> tuple[str, dict[str, Any]]:
    state: dict[str, Any] = {
        "W_enc": weights.encoder.T.copy(),
        "b_enc": weights.encoder_bias,
        "W_dec": weights.components,
        "b_dec": weights.bias,
    }
    if weights.widths:
        state["group_sizes"] = np.diff(weights.widths, prepend=0).astype(np.int64)
        return "MatryoshkaBatchTopKSAE", state
    if weights.threshold is None:
        raise InputError("weights: jump_relu needs a threshold")
    state["threshold"] = weights.threshold
    state["b_enc"] = without_bias_subtracted(weights.encoder, weights.encoder_bias, weights.bias)
    return "JumpReluAutoEncoder", state
