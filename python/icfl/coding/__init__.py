"""Sparse codes for a given dictionary: stateless calls, the estimator, and coders as values."""

from icfl.coding.encoders import encode_icfl, encode_mp, encode_omp, encode_topk
from icfl.coding.sparse_coder import SparseCoder

__all__ = ["SparseCoder", "encode_icfl", "encode_mp", "encode_omp", "encode_topk"]
