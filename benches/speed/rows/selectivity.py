"""Selectivity of every feature for every label beside plain products in NumPy and SciPy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from icfl.metrics import selectivity
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import labelled_codes

__all__ = ["ROW"]

# samples, samples of the dense peers, components, non-zeros, labels
SIZES = {"quick": (2000, 1000, 128, 8, 20), "standard": (1_000_000, 50_000, 8192, 100, 1138)}
DENSE, COUNTS, SPARSE = "NumPy dense products", "NumPy dense counts", "SciPy sparse product"

# Differences of two quotients of integers: a few float64 roundings of numbers up to 1.
ROUNDING = 8 * float(np.finfo(np.float64).eps)


def build(size: Size) -> Case:
    n, n_dense, M, k, n_labels = SIZES.get(size, SIZES["standard"])
    Z, labels = labelled_codes(n, M, k, n_labels)
    first = Z[:n_dense], labels[:n_dense]  # as many as make every label occur, and more

    def check(found: Mapping[str, Any]) -> list[str]:
        values = found[OURS].values
        facts = [_check_definition(values, Z, labels)]
        part = selectivity(*first).values
        alike = {DENSE: part, COUNTS: part, SPARSE: values}
        for name in (peer for peer in alike if peer in found):
            worst = float(abs(found[name] - alike[name]).max())
            require(worst <= ROUNDING, f"{name}: differs by {worst:.2g}")
            facts.append(f"{name}: all {values.size:,} values equal to {worst:.1g}")
        return facts

    ours = Contender(OURS, lambda: partial(selectivity, Z, labels), n)
    peers = [
        Contender(
            DENSE, partial(_products, "dense_selectivity", *first), n_dense, target=Target(ratio=20)
        ),
        Contender(
            COUNTS,
            partial(_products, "dense_counts", *first),
            n_dense,
            note="rows sorted by label",
            target=Target(ratio=20),
        ),
        Contender(
            SPARSE, partial(_products, "sparse_selectivity", Z, labels), n, target=Target(ratio=2)
        ),
    ]
    return Case({"M": M, "non-zeros": k, "labels": n_labels}, ours, peers, check)


def _products(name: str, Z: csr_array, labels: NDArray[np.int64]) -> Run:
    from speed.peers import products

    return partial(getattr(products, name), Z, labels)


def _check_definition(
    values: NDArray[np.float64], Z: csr_array, labels: NDArray[np.int64], n_columns: int = 16
) -> str:
    """Count some features sample by sample."""
    columns = np.linspace(0, Z.shape[1] - 1, n_columns).astype(int)
    active = Z[:, columns].toarray() != 0
    totals = active.sum(axis=0)
    for label in np.unique(labels):
        inside = np.flatnonzero(labels == label)
        counts = active[inside].sum(axis=0)
        elsewhere = (totals - counts) / (len(labels) - len(inside))
        off = abs(values[columns, label] - (counts / len(inside) - elsewhere)).max()
        require(off <= ROUNDING, f"label {label}: off by {off:.2g}")
    return f"{n_columns} features and {values.shape[1]:,} labels equal counts over samples"


ROW = Row("selectivity", "metrics.selectivity", build)
