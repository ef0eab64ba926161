"""saev: one `.pt` file, a line of JSON and then what torch saved.

    p = x W_enc + b_enc,   x̂ = z W_dec + b_dec

W_enc (d_model, d_sae), W_dec (d_sae, d_model). The line has `schema` and `cfg`; cfg.activation is
{cls, params} with cls "Relu", "TopK" (k = top_k) or "BatchTopK", whose `activation.threshold` is
used outside training. Files without a schema, and of schema 1, are of before August 2025, when
b_dec was still subtracted from x: they are read as the version that wrote them encodes. saev's
TopK keeps the k largest p whatever their sign; here a row with fewer positive ones has only those.

References
----------
https://github.com/OSU-NLP-Group/saev, src/saev/nn/modeling.py, commit 3d73f1f; saev 0.1.0
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from icfl._files import replace_file
from icfl.exceptions import ModelFileError
from icfl.exchange.contents import Contents
from icfl.exchange.reading import find_torch, parse_json, read_torch
from icfl.exchange.weights import (
    Activation,
    Weights,
    with_bias_subtracted,
    without_bias_subtracted,
)
from icfl.exchange.writing import WRITTEN_WITH, refuse, torch_bytes

__all__ = ["read", "recognises", "write"]

SCHEMA = 5
_LONGEST_LINE = 1 << 20
_ACTIVATIONS: dict[str, Activation] = {
    "Relu": "batch_topk",
    "TopK": "topk",
    "BatchTopK": "batch_topk",
}


def recognises(path: Path) -> bool:
    """Whether `path` is a file that begins with JSON, or a folder with one such `.pt`."""
    file = find_torch(path)
    if file is None:
        return False
    with open(file, "rb") as opened:
        return opened.read(1) == b"{"


def read(path: Path, activation: str | None = None) -> Weights:
    """Return the weights in a file that saev wrote."""
    file = find_torch(path) or path
    with open(file, "rb") as opened:
        line = opened.readline(_LONGEST_LINE)
        data = opened.read()
    header = parse_json(line, f"{file}: first line")
    schema = header.get("schema", 0)
    if "schema" in header and (type(schema) is not int or not 1 <= schema <= SCHEMA):
        raise ModelFileError(f"{file}: schema is {schema!r}, expected 1 to {SCHEMA}")
    settings = _settings(header, f"{file}: first line")
    name = settings.text("cls", _ACTIVATIONS)
    state = Contents(read_torch(data, str(file)), str(file))
    d, m = state.shape("W_enc", ("d_model", "d_sae"))
    encoder = state.array("W_enc", {"d_model": d, "d_sae": m}).T.copy()
    encoder_bias = state.array("b_enc", {"d_sae": m})
    components = state.matrix("W_dec", {"d_sae": m, "d_model": d})
    bias = state.array("b_dec", {"d_model": d})
    if schema >= 2:
        encoder_bias = with_bias_subtracted(encoder, encoder_bias, bias)
    threshold = np.zeros((), np.float32) if name == "Relu" else None
    if name == "BatchTopK":
        threshold = state.threshold("activation.threshold", {})
    state.nothing_else()
    k = None if name == "Relu" else settings.count("top_k")
    return Weights(_ACTIVATIONS[name], encoder, encoder_bias, components, bias, k, threshold)


def write(weights: Weights, path: Path) -> None:
    """Write a file that ``saev.nn.load`` reads."""
    refuse(weights, "saev", ("topk", "batch_topk"))
    weights = weights.rescaled(1.0)
    state = {
        "W_dec": weights.components,
        "b_dec": weights.bias,
        "W_enc": weights.encoder.T.copy(),
        "b_enc": without_bias_subtracted(weights.encoder, weights.encoder_bias, weights.bias),
    }
    if weights.activation == "batch_topk":
        state["activation.threshold"] = np.asarray(weights.threshold, np.float32)
    replace_file(path, [_first_line(weights), torch_bytes(state)])


def _settings(header: dict[str, Any], source: str) -> Contents:
    """Return class and options of the activation, wherever a schema keeps them."""
    if "schema" not in header:
        return Contents({"cls": "Relu"}, source)
    config = header.get("cfg")
    if not isinstance(config, dict):
        raise ModelFileError(f"{source}: has no cfg")
    payload = config.get("activation")
    if payload is None and header["schema"] == 1:
        return Contents({"cls": header.get("cls"), "top_k": config.get("top_k")}, source)
    if not isinstance(payload, dict) or not isinstance(payload.get("params"), dict):
        raise ModelFileError(f"{source}: cfg.activation is {payload!r}, expected cls and params")
    return Contents({**payload["params"], "cls": payload.get("cls")}, f"{source}: cfg.activation")


def _first_line(weights: Weights) -> bytes:
    nothing = {"cls": "NoSparsity", "params": {"key": "no-sparsity"}}
    aux = {"cls": "AuxK", "params": {"key": "auxk", "k_aux": 512, "alpha": 1 / 32}}
    params: dict[str, Any] = {"top_k": weights.n_nonzero, "sparsity": nothing, "aux": aux}
    name = "TopK" if weights.activation == "topk" else "BatchTopK"
    config = {
        "d_model": weights.n_features,
        "d_sae": weights.n_components,
        "activation": {"cls": name, "params": params},
        # Both concern training alone.
        "remove_parallel_grads": True,
        "normalize_w_dec": True,
    }
    header = {"schema": SCHEMA, "cfg": config, "commit": "unknown", "lib": WRITTEN_WITH}
    return json.dumps(header, allow_nan=False).encode() + b"\n"
