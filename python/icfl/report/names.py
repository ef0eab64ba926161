"""What tables and pictures call the methods; results use the keys."""

from __future__ import annotations

__all__ = ["METHODS"]

METHODS = {
    "raw": "raw features",
    "inputs": "inputs (whitened)",
    "icfl": "ICFL",
    "topk_sae": "TopKSAE",
    "batch_topk_sae": "BatchTopKSAE",
    "pca_largest": "PCA, largest k",
    "pca": "PCA, first k",
    "random_dictionary": "random dictionary",
}
