"""What codes are worth for one column of labels, on the groups that a fit has not seen.

Best features come as "naive", of the feature that is best on the very rows it is scored on; "null",
the same where labels say nothing (they are permuted within held-out groups), which is what the
choice alone is worth; and "corrected", of the feature that is best on the other groups, which is
what a user gets who picks a feature and then looks at a new plate. Probes learn on the other groups
too. Leakage is what features tell of a row's being held out, labels being equal: of the plate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl.metrics import batch_leakage, feature_auroc, matched_density_null, selectivity
from icfl.metrics.probe import probe_on
from icfl.metrics.selectivity import Kind

__all__ = ["KINDS", "N_PERMUTATIONS", "Numbers", "measure_labels"]

KINDS: tuple[Kind, ...] = ("average", "maximum")
PARTS = ("naive", "corrected", "null")
N_PERMUTATIONS = 100
"""Of the labels. The mean of the null is wanted, not its tail: it is then a tenth of its standard
deviation off."""

Numbers = dict[str, float | None]


def measure_labels(
    Z: Any,
    Xhat: NDArray[np.floating[Any]],
    y: NDArray[np.intp],
    groups: NDArray[Any],
    test: NDArray[np.bool_],
) -> Numbers:
    """Return what one column of labels has to do with codes.

    Parameters
    ----------
    Z : sparse array or ndarray of shape (n_samples, n_components)
        Codes of all rows.
    Xhat : ndarray of shape (n_samples, n_features)
        Reconstructions.
    y : ndarray of shape (n_samples,), intp
        Labels by number, −1 where there is none.
    groups : ndarray of shape (n_samples,)
        Plate, batch, donor.
    test : ndarray of shape (n_samples,), bool
        Rows that are held out.

    Returns
    -------
    dict of str to float or None
        None where something does not apply.
    """
    return (
        _best_features(Z, y, groups, test)
        | _leakage(Z, y, test)
        | _probes({"codes": Z, "reconstructions": Xhat}, y, test)
    )


def _best_features(
    Z: Any, y: NDArray[np.intp], groups: NDArray[Any], test: NDArray[np.bool_]
) -> Numbers:
    """Return means over the labels of what the best feature has."""
    known = y >= 0
    shared = np.intersect1d(y[known & test], y[known & ~test])
    if len(shared) < 2:
        names = [f"selectivity_{kind}_{part}" for kind in KINDS for part in PARTS]
        return dict.fromkeys([*names, "auroc_naive", "auroc_corrected"])
    # Rows of labels that are missing from either side say nothing about the others.
    use = np.isin(y, shared)
    there, here = ((Z[rows], y[rows]) for rows in (use & ~test, use & test))
    numbers: Numbers = {}
    for kind in KINDS:
        null = matched_density_null(
            *here,
            groups=groups[use & test],
            kind=kind,
            n_permutations=N_PERMUTATIONS,
            random_state=0,
        )
        values = (selectivity(*side, kind).values for side in (there, here))
        found = (*_naive_and_corrected(*values), float(null.mean.mean()))
        numbers |= {f"selectivity_{kind}_{part}": v for part, v in zip(PARTS, found, strict=True)}
    areas = (feature_auroc(*side).values for side in (there, here))
    numbers["auroc_naive"], numbers["auroc_corrected"] = _naive_and_corrected(*areas)
    return numbers


def _naive_and_corrected(
    chosen: NDArray[np.float64], scored: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the mean of labels' best values, and of the values of what is best elsewhere.

    Both arrays are of shape (n_components, n_labels).
    """
    labels = np.arange(scored.shape[1])
    return float(scored.max(axis=0).mean()), float(scored[chosen.argmax(axis=0), labels].mean())


def _leakage(Z: Any, y: NDArray[np.intp], test: NDArray[np.bool_]) -> Numbers:
    """Return what features tell of a row's being held out, mean and share of those that do."""
    known = y >= 0
    if len(np.unique(y[known])) >= 2 and len(np.unique(test[known])) == 2:
        found = batch_leakage(Z[known], test[known], y[known])
        if found.identifiable[0] > 0.0:
            return {
                "batch_leakage": float(found.batch.mean()),
                "flagged_fraction": float(found.flagged().mean()),
            }
    return {"batch_leakage": None, "flagged_fraction": None}


def _probes(spaces: dict[str, Any], y: NDArray[np.intp], test: NDArray[np.bool_]) -> Numbers:
    """Return balanced accuracies on the held-out rows; None where a label cannot be held out."""
    known = y >= 0
    seen, asked = np.unique(y[known & ~test]), np.unique(y[known & test])
    if len(seen) < 2 or len(asked) < 2 or not np.isin(asked, seen).all():
        return {f"probe_{name}": None for name in spaces}
    return {
        f"probe_{name}": probe_on(X[known], y[known], test[known]) for name, X in spaces.items()
    }
