"""Models for the tests of exchange: fitted estimators with random weights, and their definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import icfl
from icfl import autoencoders
from icfl.autoencoders.given import given
from icfl.exchange.weights import Weights

N_FEATURES, N_COMPONENTS, N_NONZERO = 5, 12, 3
X = (np.random.default_rng(5).normal(size=(50, N_FEATURES)) * 2 + 0.5).astype(np.float32)


TAKES = {
    "sae_lens": ("topk", "unit_norm", "abs_topk", "batch_topk", "relu", "matryoshka"),
    "sparsify": ("topk",),
    "dictionary_learning": ("topk", "batch_topk", "relu", "matryoshka"),
    "openai": ("relu",),
    "saev": ("topk", "batch_topk", "relu"),
}
"""Which of the models every layout can say."""


def model_of(name: str, *, threshold: Any = None, scale: float = 1.0, **params: Any) -> Any:
    """Return a fitted autoencoder whose weights are far from special in any way."""
    rng = np.random.default_rng(7)
    arrays = {
        "components": rng.normal(size=(N_COMPONENTS, N_FEATURES)),
        "bias": rng.normal(size=N_FEATURES),
        "encoder": rng.normal(size=(N_COMPONENTS, N_FEATURES)),
        "encoder_bias": rng.normal(size=N_COMPONENTS),
    }
    if threshold is not None:
        arrays["threshold"] = np.asarray(threshold)
    params = {"n_nonzero": N_NONZERO, "unit_norm_inputs": False} | params
    model = getattr(autoencoders, name)(N_COMPONENTS, **params)
    return given(model, arrays, input_scale=scale)


def models() -> dict[str, Any]:
    """Return one model for every way in which they encode."""
    return {
        "topk": model_of("TopKSAE", scale=0.3),
        "unit_norm": model_of("TopKSAE", scale=2.5, unit_norm_inputs=True),
        "abs_topk": model_of("AbsTopKSAE", scale=1.5),
        "batch_topk": model_of("BatchTopKSAE", threshold=0.4, scale=0.5),
        "relu": model_of("BatchTopKSAE", threshold=0.0),
        "matryoshka": model_of("MatryoshkaSAE", threshold=0.7, widths=(3, 7, N_COMPONENTS)),
    }


def defined_codes(weights: Weights, X: np.ndarray) -> np.ndarray:
    """Return codes by their definition, dense, in float64."""
    rows = X.astype(np.float64)
    if weights.inputs == "unit_norm":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    p = (rows * weights.scale - weights.bias) @ weights.encoder.T.astype(np.float64)
    p += weights.encoder_bias
    if weights.activation in ("batch_topk", "jump_relu"):
        return np.where(p > weights.threshold, p, 0)
    rank = np.abs(p) if weights.activation == "abs_topk" else p
    kept = np.argsort(-rank, axis=1, kind="stable")[:, : weights.n_nonzero]
    codes = np.zeros_like(p)
    np.put_along_axis(codes, kept, np.take_along_axis(p, kept, 1), 1)
    return codes if weights.activation == "abs_topk" else np.maximum(codes, 0)


def assert_same_codes(actual: Any, expected: np.ndarray) -> None:
    """Compare codes as two roundings of the same numbers: supports, and values to float32."""
    dense = actual.toarray() if hasattr(actual, "toarray") else np.asarray(actual)
    np.testing.assert_array_equal(dense != 0, expected != 0)
    np.testing.assert_allclose(dense, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


def sae_lens_folder(folder: Path, tensors: dict[str, Any], config: dict[str, Any]) -> Path:
    """Write a SAELens folder: that of the TopK model, changed; None takes a value away."""
    icfl.save_external(models()["topk"], folder, "sae_lens")
    known = load_file(folder / "sae_weights.safetensors") | tensors
    kept = {k: np.ascontiguousarray(v) for k, v in known.items() if v is not None}
    save_file(kept, folder / "sae_weights.safetensors")
    told = json.loads((folder / "cfg.json").read_text()) | config
    told = {k: v for k, v in told.items() if v != "absent"}
    (folder / "cfg.json").write_text(json.dumps(told))
    return folder


def interplm_folder(folder: Path, trainer: str, **changes: Any) -> Path:
    """Write an InterPLM folder: that of a BatchTopK model, changed; None takes a tensor away."""
    import torch

    icfl.save_external(models()["batch_topk"], folder, "dictionary_learning")
    (folder / "config.json").unlink()
    if trainer:
        line = f"trainer_cfg: !!python/object:interplm.train.trainers.x.{trainer}TrainerConfig\n"
        (folder / "config.yaml").write_text(f"!!python/object:interplm.C\n{line}  lr: 0.0\n")
    state = torch.load(folder / "ae.pt", weights_only=True)
    tensors = {k: torch.tensor(v) for k, v in changes.items() if v is not None}
    kept = {k: v for k, v in (state | tensors).items() if changes.get(k, 0) is not None}
    torch.save(kept, folder / "ae.pt")
    return folder
