"""From rows to a fitted whitening: options checked, controls counted, the map solved.

The statistics are a dictionary of `Moments`: under the key None for all controls, or one per batch
where a batch correction needs them apart. Both can be added to and joined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl._threads import one_thread
from icfl._validation import check_choice, check_number
from icfl.exceptions import InputError, InputTypeError
from icfl.whitening.basis import LEDOIT_WOLF, check_components, check_shrinkage, solve_basis
from icfl.whitening.batch_correction import CORRECTIONS, Label, encode_labels
from icfl.whitening.mapping import BatchMap, WhiteningMap
from icfl.whitening.moments import Moments, accumulate, pool

__all__ = ["Options", "Statistics", "add_statistics", "collect", "solve"]

Statistics: TypeAlias = "dict[Label | None, Moments]"


@dataclass(frozen=True)
class Options:
    """The parameters of `ControlWhitener`, checked."""

    n_components: int | float | None
    method: str
    eps: float
    shrinkage: str | float | None
    batch_correction: str | None

    @classmethod
    def check(cls, parameters: Mapping[str, Any]) -> Options:
        """Return the options, or raise one error that names the first wrong parameter."""
        correction = parameters["batch_correction"]
        if correction is not None:
            check_choice(correction, "batch_correction (unless None)", tuple(CORRECTIONS))
        shrinkage = check_shrinkage(parameters["shrinkage"])
        if shrinkage == LEDOIT_WOLF and correction == "coral":
            # The estimate would need moments of the standardised columns, whose scale is only known
            # in the end: a second pass, or a second (n_features, n_features) of mixed moments.
            raise InputError(
                f"shrinkage={LEDOIT_WOLF!r} cannot be combined with batch_correction='coral';"
                " pass a number in [0, 1]"
            )
        return cls(
            n_components=check_components(parameters["n_components"]),
            method=check_choice(parameters["method"], "method", ("pca", "zca")),
            eps=check_number(parameters["eps"], "eps", low=0.0, high=1.0),
            shrinkage=shrinkage,
            batch_correction=correction,
        )


def collect(
    X: NDArray[Any], control: ArrayLike | None, batch: ArrayLike | None, options: Options
) -> Statistics:
    """Return the statistics of the controls among the rows of `X`."""
    mask = None if control is None else _control_mask(control, len(X))
    if options.batch_correction is None:
        return {None: accumulate(X, None if mask is None else np.flatnonzero(mask))}
    if batch is None:
        raise InputError(
            f"batch_correction={options.batch_correction!r} needs batch=, one label for each of the"
            f" {len(X)} rows of X"
        )
    labels, codes = encode_labels(batch, len(X))
    rows = np.arange(len(X)) if mask is None else np.flatnonzero(mask)
    # Batch by batch, so that a matrix is touched once per block, not once per stretch of rows.
    by_batch = rows[np.argsort(codes[rows], kind="stable")]
    ends = np.cumsum(np.bincount(codes[rows], minlength=len(labels)))
    parts = np.split(by_batch, ends[:-1])
    return {label: accumulate(X, part) for label, part in zip(labels, parts, strict=True)}


def add_statistics(total: Statistics, more: Statistics) -> None:
    """Add `more` to `total`, in place, if both or neither keep the batches apart."""
    if (None in total) != (None in more):
        raise InputError(
            "statistics with and without a batch_correction cannot be joined: one keeps every"
            " batch apart, the other does not"
        )
    for label, moments in more.items():
        if label in total:
            total[label].merge(moments)
        else:
            total[label] = moments


def solve(statistics: Statistics, options: Options) -> WhiteningMap:
    """Return the whitening that `statistics` and `options` define."""
    kind = options.batch_correction
    if kind is not None and None in statistics:
        raise InputError(
            f"batch_correction={kind!r} was set after fitting began; batches were not kept apart"
        )
    parts = list(statistics.values())
    apart = {label: part for label, part in statistics.items() if label is not None}
    with one_thread():
        basis = solve_basis(
            parts[0] if len(parts) == 1 else pool(parts),
            n_components=options.n_components,
            eps=options.eps,
            shrinkage=options.shrinkage,
            standardize=kind == "coral",
        )
        batches = None if kind is None else BatchMap.fit(kind, basis, apart)
    return WhiteningMap(basis, options.method == "zca", batches)


def _control_mask(control: ArrayLike, n_samples: int) -> NDArray[np.bool_]:
    mask = np.asarray(control)
    if mask.dtype == object and all(isinstance(value, (bool, np.bool_)) for value in mask.flat):
        mask = mask.astype(bool)  # as pandas hands over its nullable booleans
    if mask.dtype != bool:
        raise InputTypeError(
            f"control must be boolean, True for each row of X that is a control, got {mask.dtype}"
        )
    if mask.shape != (n_samples,):
        raise InputError(
            f"control must have one entry per row of X, shape ({n_samples},), got {mask.shape}"
        )
    return mask
