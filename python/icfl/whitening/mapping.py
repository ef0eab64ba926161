"""A fitted whitening as a value: the global basis, the per-batch correction, the way back.

    forward:   rows -> white coordinates -> corrected for the batch -> (ZCA) rotated to input axes

Everything `ControlWhitener` needs to transform, and nothing about how it was estimated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from icfl.exceptions import InputError
from icfl.whitening.basis import Basis
from icfl.whitening.batch_correction import (
    CORRECTIONS,
    Codes,
    Correction,
    Label,
    encode_labels,
    name_labels,
)
from icfl.whitening.moments import Doubles, Moments

__all__ = ["BatchMap", "WhiteningMap", "lacking_controls"]

MIN_BATCH_CONTROLS = 2


@dataclass(frozen=True, eq=False)
class BatchMap:
    """A correction, the labels of its batches in order, and batches too poor to have one.

    Attributes
    ----------
    kind : str
        Name of the correction.
    correction : Correction
        Fitted.
    labels : list of str or int
        Batches it was fitted on.
    lacking : dict of label to int
        Number of controls of batches that were seen with fewer than two.
    """

    kind: str
    correction: Correction
    labels: list[Label]
    lacking: dict[Label, int]

    @classmethod
    def fit(cls, kind: str, basis: Basis, moments: Mapping[Label, Moments]) -> BatchMap:
        """Fit the correction `kind` on every batch that has the controls for it."""
        ordered = sorted(moments, key=lambda label: (isinstance(label, str), label))
        counts = {label: moments[label].count for label in ordered}
        labels = [label for label in ordered if counts[label] >= MIN_BATCH_CONTROLS]
        lacking = {label: n for label, n in counts.items() if n < MIN_BATCH_CONTROLS}
        if not labels:
            raise InputError(lacking_controls(lacking))
        correction = CORRECTIONS[kind].fit(basis, [moments[label] for label in labels])
        return cls(kind, correction, labels, lacking)

    def codes(self, batch: ArrayLike | None, n_samples: int) -> Codes:
        """Return for each row the number of its batch, or raise InputError naming the label."""
        if batch is None:
            raise InputError(
                f"batch_correction={self.kind!r} needs batch=, one label for each of the"
                f" {n_samples} rows"
            )
        distinct, codes = encode_labels(batch, n_samples)
        lacking = {label: self.lacking[label] for label in distinct if label in self.lacking}
        if lacking:
            raise InputError(lacking_controls(lacking))
        place = {label: i for i, label in enumerate(self.labels)}
        unknown = [label for label in distinct if label not in place]
        if unknown:
            raise InputError(
                f"batch has labels not seen in fit: {name_labels(unknown)}"
                f" (fitted batches: {name_labels(self.labels)})"
            )
        known: Codes = np.array([place[label] for label in distinct], dtype=np.intp)
        return known[codes]


@dataclass(frozen=True, eq=False)
class WhiteningMap:
    """What a fitted whitener does to rows.

    Attributes
    ----------
    basis : Basis
        The global map.
    rotate_back : bool
        ZCA: express the white coordinates along the input axes again.
    batches : BatchMap or None
        The correction per batch.
    """

    basis: Basis
    rotate_back: bool
    batches: BatchMap | None

    @property
    def n_outputs(self) -> int:
        """Width of what `forward` returns."""
        components = self.basis.components
        return len(components[0]) if self.rotate_back else len(components)

    def codes(self, batch: ArrayLike | None, n_samples: int) -> Codes:
        """Return batch numbers of rows, zeros without a correction."""
        if self.batches is None:
            return np.zeros(n_samples, dtype=np.intp)
        return self.batches.codes(batch, n_samples)

    def forward(self, rows: Doubles, codes: Codes) -> Doubles:
        """Whiten rows (n, n_features) to (n, n_outputs)."""
        white = self.basis.whiten(rows)
        if self.batches is not None:
            white = self.batches.correction.apply(white, codes)
        return white @ self.basis.components if self.rotate_back else white

    def backward(self, outputs: Doubles, codes: Codes) -> Doubles:
        """Return rows (n, n_features), projected onto the kept directions."""
        white = outputs @ self.basis.components.T if self.rotate_back else outputs
        if self.batches is not None:
            white = self.batches.correction.undo(white, codes)
        return self.basis.unwhiten(white)


def lacking_controls(counts: Mapping[Label, int]) -> str:
    """Return the message for batches with fewer than two controls."""
    named = list(counts.items())
    text = ", ".join(f"{label!r} has {n}" for label, n in named[:5])
    more = f" and {len(named) - 5} more batches" if len(named) > 5 else ""
    return (
        f"every batch needs at least {MIN_BATCH_CONTROLS} controls for a batch_correction;"
        f" batch {text}{more}"
    )
