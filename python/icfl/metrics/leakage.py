"""Features that tell the plate, apart from those that tell biology.

With A whether a feature is active, B the batch and Y the label, information about A splits as

    I(A; B, Y) = I(A; B | Y) + I(A; Y | B) + shared,   shared = I(A; B) - I(A; B | Y).

The first term is what only the batch tells: among samples of one label the feature still differs
between batches. The second is what only the label tells: within a batch it differs between labels.
Where labels and batches are partly confounded, I(A; B) alone would accuse every feature of a label
that is frequent on some plate, and I(A; Y) would clear a plate's feature; the conditional ones do
neither. What is shared could be due to either, and no statistic can tell.

Counts of few samples carry information by chance. Its expectation over permutations of batches
within labels (labels within batches), exact by the hypergeometric distribution, is taken off, and
what remains is put in proportion to the uncertainty that could have been explained:

    (I(A; B | Y) - E) / (H(A | Y) - E),

0 by chance, 1 if batch and label together leave no doubt: adjusted mutual information, with the
entropy of the feature as normaliser. That of the batch would give the perfect mark of one plate
among a hundred a score near 0.

References: Vinh, Epps & Bailey (2010), "Information theoretic measures for clusterings comparison",
JMLR 11:2837-2854. Cover & Thomas (2006), "Elements of information theory", section 2.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from icfl import _core
from icfl._frames import data_frame
from icfl._validation import check_n_jobs, check_number
from icfl.exceptions import InputError
from icfl.metrics._design import Design, make_design
from icfl.metrics._inputs import count_active

_Values = npt.NDArray[np.float64]
_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BatchLeakage:
    """How much of every feature's activity the batch tells, and how much the label.

    Attributes
    ----------
    batch : ndarray of shape (n_components,), float64
        Share of the uncertainty about activity, given the label, that the batch resolves; corrected
        for chance, 0 where no uncertainty is left.
    label : ndarray of shape (n_components,), float64
        The same for the label, given the batch.
    shared : ndarray of shape (n_components,), float64
        Information that batch and label both carry, as a share of the entropy of activity,
        corrected for chance. Large where the two are confounded: neither cleared nor convicted.
        Negative where they tell more together than apart.
    density : ndarray of shape (n_components,), float64
        Share of the samples with a label on which each feature is active.
    identifiable : tuple of two floats
        Share of the samples whose label occurs in several batches, without which there is no
        `batch`, and share of those whose batch has several labels, without which there is no
        `label`.
    """

    batch: _Values
    label: _Values
    shared: _Values
    density: _Values
    identifiable: tuple[float, float]

    @property
    def score(self) -> _Values:
        """`batch` - `label`: 1 for a mark of the plate, -1 for one of biology, 0 for neither."""
        return self.batch - self.label

    def flagged(self, threshold: float = 0.1) -> npt.NDArray[np.bool_]:
        """Return which features tell the batch: `batch` above `threshold` and above `label`."""
        check_number(threshold, "threshold", low=0.0, high=1.0)
        return np.asarray((self.batch > threshold) & (self.batch > self.label))

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per feature."""
        return data_frame(
            {
                "feature": np.arange(len(self.batch)),
                "density": self.density,
                "batch": self.batch,
                "label": self.label,
                "shared": self.shared,
                "score": self.score,
            }
        )

    def __repr__(self) -> str:
        n_flagged = int(self.flagged().sum())
        return f"BatchLeakage({n_flagged} of {len(self.batch)} features flagged)"


def batch_leakage(
    Z: Any, batch: npt.ArrayLike, labels: npt.ArrayLike, *, n_jobs: int | None = None
) -> BatchLeakage:
    """Measure how much every feature tells of the batch, beside what it tells of the label.

    Parameters
    ----------
    Z : array-like or scipy.sparse matrix of shape (n_samples, n_components)
        Codes. Sparse codes are never made dense.
    batch : array-like of shape (n_samples,)
        Plate, batch or donor of each row, known wherever the label is.
    labels : array-like of shape (n_samples,)
        What features should tell: cell type, perturbation. None, NaN, pandas' NA and "" mean: no
        label; such rows are left out.
    n_jobs : int, optional
        Threads; None for all idle cores. The result is the same for any number.

    Returns
    -------
    BatchLeakage
        With `.batch`, `.label`, `.shared`, `.score` (n_components,) and `.flagged()`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, codes are not finite real numbers, there are fewer than two labels or
        batches, or a labelled row has no batch.

    See Also
    --------
    selectivity_test : with `labels=batch, groups=labels`, a p-value for every feature and batch.

    Notes
    -----
    A label that occurs in one batch only says nothing about that batch, and a batch with one label
    nothing about that label; see `identifiable`. If every label has a batch of its own, `batch` and
    `label` are 0 for all features, and all there is is `shared`.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import batch_leakage
    >>> plate = np.repeat(["p1", "p2"], 40)
    >>> drug = np.tile(["DMSO", "taxol"], 40)
    >>> Z = np.column_stack([plate == "p1", drug == "taxol", np.arange(80) % 4 < 2]).astype(float)
    >>> found = batch_leakage(Z, plate, drug)
    >>> found.score.round(1).tolist()
    [1.0, -1.0, 0.0]
    >>> found.flagged().tolist()
    [True, False, False]
    """
    workers = check_n_jobs(n_jobs)
    design = make_design(Z, labels, batch, groups_name="batch")
    if design.n_groups < 2:
        raise InputError(f"batch must have at least two values, got {design.n_groups}")
    table = _Table(design)
    parts = [
        _shares(table, count_active(codes, table.numbers, len(table.sizes)), workers)
        for _, codes in design.feature_blocks(len(table.sizes))
    ]
    by_batch, by_label, shared = (np.concatenate(column) for column in zip(*parts, strict=True))
    density = design.active.sum(axis=0) / design.totals.sum()
    identifiable = (table.shared_size(table.label), table.shared_size(table.batch))
    return BatchLeakage(by_batch, by_label, shared, density, identifiable)


class _Table:
    """The cells (label, batch) that have samples."""

    def __init__(self, design: Design) -> None:
        kept = design.labels >= 0
        pairs = design.labels[kept] * design.n_groups + design.groups[kept]
        present, places, self.sizes = np.unique(pairs, return_inverse=True, return_counts=True)
        self.numbers: _Counts = np.full(len(kept), -1, dtype=np.int64)
        self.numbers[kept] = places
        self.label: _Counts = present // design.n_groups
        # Batches are numbered without gaps, and so are labels: both are strata.
        self.batch: _Counts = present % design.n_groups
        self.n = int(self.sizes.sum())

    def shared_size(self, strata: _Counts) -> float:
        """Share of the samples in strata of several cells."""
        several = np.bincount(strata)[strata] > 1
        return float(self.sizes[several].sum() / self.n)


def _shares(table: _Table, active: _Counts, n_jobs: int | None) -> tuple[_Values, _Values, _Values]:
    """Return batch, label and shared for counts (n_cells, m)."""
    known = _entropy(active, table.sizes).sum(axis=0)  # given batch and label
    batch, surprise, _ = _explained(table.label, table.sizes, active, known, n_jobs)
    label, _, _ = _explained(table.batch, table.sizes, active, known, n_jobs)
    # The same for the batch alone: all samples are one stratum, batches its cells.
    by_batch, sizes = _merged(active, table.batch), _merged(table.sizes[:, None], table.batch)[:, 0]
    given_batch = _entropy(by_batch, sizes).sum(axis=0)
    one = np.zeros(len(sizes), dtype=np.int64)
    _, alone, entropy = _explained(one, sizes, by_batch, given_batch, n_jobs)
    return batch, label, _ratio(alone - surprise, entropy)


def _explained(
    strata: _Counts, sizes: _Counts, active: _Counts, known: _Values, n_jobs: int | None
) -> tuple[_Values, _Values, _Values]:
    """Share of the entropy given the strata that their cells resolve; information and entropy.

    Both in nats times samples, information less what chance brings.
    """
    within, all_sizes = _merged(active, strata), _merged(sizes[:, None], strata)[:, 0]
    entropy = _entropy(within, all_sizes).sum(axis=0)
    by_chance = _core.expected_entropy(within, all_sizes, strata, sizes, n_jobs)
    # Strata of one cell have nothing to resolve: their entropy is no part of what could be.
    lone = np.bincount(strata) == 1
    possible = by_chance - _entropy(within[lone], all_sizes[lone]).sum(axis=0)
    information = by_chance - known
    # Sums of some 1e6 terms, each rounded: what is below that is zero.
    noise = 1e-12 * np.maximum(entropy, 1.0)
    information[np.abs(information) <= noise] = 0.0
    possible[possible <= noise] = 0.0
    return _ratio(information, possible), information, entropy


def _merged(counts: _Counts, strata: _Counts) -> _Counts:
    """Sum rows of counts that belong to the same stratum."""
    order = np.argsort(strata, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(strata[order]) != 0])
    merged: _Counts = np.add.reduceat(counts[order], starts, axis=0)
    return merged


def _entropy(active: _Counts, sizes: _Counts) -> _Values:
    """n h(a / n) in nats, h the binary entropy."""
    n = sizes[:, None]
    return np.asarray(xlogy(n, n) - xlogy(active, active) - xlogy(n - active, n - active))


def _ratio(part: _Values, whole: _Values) -> _Values:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
