"""Sparse dictionary learning for the representations of scientific foundation models.

Names are loaded when they are first used, so that ``import icfl`` costs little more than NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from icfl._core import __version__

if TYPE_CHECKING:
    from icfl import baselines, datasets, evaluation, exceptions, hub, io, metrics, torch, updates
    from icfl.aggregation import Aggregator, aggregate
    from icfl.autoencoders import (
        AbsTopKSAE,
        BatchTopKSAE,
        JumpReLUSAE,
        MatchingPursuitSAE,
        MatryoshkaSAE,
        TopKSAE,
    )
    from icfl.coding import SparseCoder, encode_icfl, encode_mp, encode_omp, encode_topk
    from icfl.evaluation import Comparison, compare
    from icfl.exchange import load_external, save_external
    from icfl.io import open_activations
    from icfl.learning import ICFL
    from icfl.persistence import load, save
    from icfl.whitening import ControlWhitener

__all__ = [
    "ICFL",
    "AbsTopKSAE",
    "Aggregator",
    "BatchTopKSAE",
    "Comparison",
    "ControlWhitener",
    "JumpReLUSAE",
    "MatchingPursuitSAE",
    "MatryoshkaSAE",
    "SparseCoder",
    "TopKSAE",
    "__version__",
    "aggregate",
    "baselines",
    "compare",
    "datasets",
    "encode_icfl",
    "encode_mp",
    "encode_omp",
    "encode_topk",
    "evaluation",
    "exceptions",
    "hub",
    "io",
    "load",
    "load_external",
    "metrics",
    "open_activations",
    "save",
    "save_external",
    "torch",
    "updates",
]

_HOME = {
    "ICFL": "learning",
    "AbsTopKSAE": "autoencoders",
    "Aggregator": "aggregation",
    "BatchTopKSAE": "autoencoders",
    "Comparison": "evaluation",
    "ControlWhitener": "whitening",
    "JumpReLUSAE": "autoencoders",
    "MatchingPursuitSAE": "autoencoders",
    "MatryoshkaSAE": "autoencoders",
    "SparseCoder": "coding",
    "TopKSAE": "autoencoders",
    "aggregate": "aggregation",
    "compare": "evaluation",
    "encode_icfl": "coding",
    "encode_mp": "coding",
    "encode_omp": "coding",
    "encode_topk": "coding",
    "load": "persistence",
    "load_external": "exchange",
    "open_activations": "io",
    "save": "persistence",
    "save_external": "exchange",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(f"icfl.{_HOME[name]}"), name)
    elif name in __all__:
        value = import_module(f"icfl.{name}")
    else:
        raise AttributeError(f"module 'icfl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
