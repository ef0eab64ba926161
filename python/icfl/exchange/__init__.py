"""Sparse autoencoders of SAELens, sparsify, dictionary_learning, InterPLM, openai and saev.

`calls` has the two calls, `layouts` the registry, one file each says how a library keeps weights.
Between a layout and an estimator is one value, `weights.Weights`.
"""

from icfl.exchange.calls import load_external, save_external

__all__ = ["load_external", "save_external"]
