"""Tensors and settings as the bytes that other libraries read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from icfl._core import __version__
from icfl.exceptions import InputError, MissingDependencyError
from icfl.exchange.weights import Weights

__all__ = ["WRITTEN_WITH", "json_bytes", "refuse", "safetensors_bytes", "torch_bytes"]

WRITTEN_WITH = f"icfl {__version__}"


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object as text."""
    return json.dumps(value, indent=2, allow_nan=False).encode() + b"\n"


def safetensors_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Return a safetensors file."""
    # It writes the buffer whatever the strides say.
    contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return bytes(save(contiguous))


def torch_bytes(state: Mapping[str, Any]) -> bytes:
    """Return a torch file; arrays become tensors, the rest stays as it is."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            'writing torch files needs PyTorch: pip install "icfl[torch]"'
        ) from error
    values = {
        name: torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
        for name, value in state.items()
    }
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def refuse(weights: Weights, layout: str, activations: tuple[str, ...]) -> None:
    """Refuse what most layouts have no place for: other activations, normalised rows."""
    if weights.activation not in activations:
        raise InputError(
            f"model: the layout of {layout} has {', '.join(activations)} codes, "
            f"got {weights.activation}"
        )
    if weights.inputs == "unit_norm":
        raise InputError(
            f"model: it scales rows to unit norm, for which the layout of {layout} has no place; "
            "use format='sae_lens', or fit on rows scaled beforehand with unit_norm_inputs=False"
        )
    if weights.inputs == "normalised":
        raise InputError(f"inputs: the layout of {layout} takes rows as they are, use 'raw'")
