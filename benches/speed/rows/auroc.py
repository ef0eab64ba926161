"""Areas under ROC curves of all features for all labels, beside scikit-learn one pair at a time.

The work is counted in pairs of a feature and a label: peers get some features, and all labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from icfl.metrics import feature_auroc
from speed.case import OURS, Case, Contender, Row, Run, Size, Target, require
from speed.inputs import labelled_codes

__all__ = ["ROW"]

# samples, components, non-zeros, labels, features of scikit-learn, features of ranks
SIZES = {"quick": (2000, 128, 8, 10, 1, 8), "standard": (100_000, 8192, 100, 50, 1, 32)}
SKLEARN, RANKS = "scikit-learn roc_auc_score", "SciPy rankdata"

EPS = float(np.finfo(np.float64).eps)


def build(size: Size) -> Case:
    n, M, k, n_labels, n_single, n_ranked = SIZES.get(size, SIZES["standard"])
    Z, labels = labelled_codes(n, M, k, n_labels)
    columns = csc_array(Z)
    # A trapezoid for each distinct value, of which every sum may round once; ours divides integers.
    rounding = (int(np.diff(columns.indptr).max()) + 8) * EPS
    chosen = {SKLEARN: _spread(M, n_single), RANKS: _spread(M, n_ranked)}

    def check(found: Mapping[str, Any]) -> list[str]:
        values = found[OURS].values
        facts = [_check_definition(values, columns, labels, rounding)]
        for name in (peer for peer in chosen if peer in found):
            worst = float(abs(found[name] - values[chosen[name]]).max())
            require(worst <= rounding, f"{name}: differs by {worst:.2g}")
            facts.append(f"{name}: all {found[name].size:,} areas equal to {worst:.1g}")
        return facts

    ours = Contender(
        OURS, partial(_ours, Z, labels), M * n_labels, note="with DeLong's standard errors"
    )
    peers = [
        Contender(
            SKLEARN,
            partial(_areas, "one_by_one", columns, chosen[SKLEARN], labels),
            n_single * n_labels,
            note="columns made dense beforehand",
            target=Target(ratio=1000),
        ),
        Contender(
            RANKS,
            partial(_areas, "by_ranks", columns, chosen[RANKS], labels),
            n_ranked * n_labels,
            note="columns made dense beforehand, ranked once for all labels",
            target=Target(ratio=20),
        ),
    ]
    sizes = {"rows": n, "M": M, "non-zeros": k, "labels": n_labels}
    return Case(sizes, ours, peers, check)


def _spread(n_components: int, n_features: int) -> NDArray[np.intp]:
    return np.linspace(0, n_components - 1, n_features).astype(np.intp)


def _ours(Z: csr_array, labels: NDArray[np.int64]) -> Run:
    return partial(feature_auroc, Z, labels)


def _areas(name: str, Z: csc_array, features: NDArray[np.intp], labels: NDArray[np.int64]) -> Run:
    from speed.peers import areas

    return partial(getattr(areas, name), Z[:, features].toarray(order="F"), labels)


def _check_definition(
    values: NDArray[np.float64], Z: csc_array, labels: NDArray[np.int64], rounding: float
) -> str:
    """Ask scikit-learn about some features that no peer has."""
    from sklearn.metrics import roc_auc_score

    features, asked = _spread(Z.shape[1], 7)[1:-1], _spread(values.shape[1], 4)
    for feature in features:
        column = Z[:, [feature]].toarray().ravel()
        for label in asked:
            off = abs(values[feature, label] - roc_auc_score(labels == label, column))
            require(off <= rounding, f"feature {feature}, label {label}: off by {off:.2g}")
    return f"{len(features) * len(asked)} areas equal scikit-learn's, to {rounding:.1g}"


ROW = Row("auroc", "metrics.feature_auroc", build, unit="pairs/s")
