"""How many pairs that belong together look unusually alike or opposed: recall of known pairs.

The cosines of pairs that belong together (profiles of one perturbation, or of two that are known
to be related) are compared with the null, the cosines of profiles with different labels. A pair is
recalled if its cosine is among the lowest or the highest 5 % of the null: with N null cosines,

    #(null <= cosine) <= low N    or    #(null < cosine) >= high N

as in EFAAR's benchmark (Celik et al. 2024). Unrelated pairs reach low + 1 - high, 10 % by default;
fewer where many cosines are equal, as those of disjoint codes are: ties with the null do not count.

Reference: Celik et al. (2024), "Building, benchmarking, and exploring perturbative maps of
transcriptional and morphological data", PLOS Computational Biology 20; github.com/recursionpharma/
EFAAR_benchmarking.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.utils import check_random_state

from icfl._frames import data_frame
from icfl._validation import check_count, check_number
from icfl.exceptions import InputError
from icfl.metrics._labels import encode_labels
from icfl.metrics._profiles import Integers, allowed, constraint_codes, cosine_blocks, unit_profiles

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PerturbationRecall:
    """Recall of pairs of profiles.

    Attributes
    ----------
    value : float
        Share of the pairs in either tail of the null.
    low_tail, high_tail : float
        Shares in each; they sum to `value`.
    chance : float
        What unrelated pairs reach, where cosines do not tie.
    n_pairs, n_null : int
        Pairs that belong together, and cosines of the null.
    low, high : float
        Cosines below and above which a pair is recalled.
    labels : ndarray of shape (n_labels,)
        The labels that take part in some pair, sorted.
    by_label : ndarray of shape (n_labels,), float64
        Recall over the pairs in which a label takes part.
    n_pairs_by_label : ndarray of shape (n_labels,), int64
    """

    value: float
    low_tail: float
    high_tail: float
    chance: float
    n_pairs: int
    n_null: int
    low: float
    high: float
    labels: npt.NDArray[Any]
    by_label: _Floats
    n_pairs_by_label: npt.NDArray[np.int64]

    def __float__(self) -> float:
        return self.value

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row per label, highest recall first."""
        order = np.argsort(-self.by_label, kind="stable")
        columns = {
            "label": self.labels,
            "recall": self.by_label,
            "n_pairs": self.n_pairs_by_label,
        }
        return data_frame({name: column[order] for name, column in columns.items()})

    def __repr__(self) -> str:
        numbers = f"{self.value:.3f}, chance={self.chance:.3f}, n_pairs={self.n_pairs}"
        return f"PerturbationRecall({numbers})"


def perturbation_recall(
    profiles: Any,
    labels: npt.ArrayLike,
    *,
    pairs: npt.ArrayLike | None = None,
    diffby: Any = None,
    low: float = 0.05,
    high: float = 0.95,
    n_null: int = 5000,
    random_state: int | np.random.RandomState | None = None,
) -> PerturbationRecall:
    """Share of the pairs that belong together whose cosine lies in a tail of the null.

    Parameters
    ----------
    profiles : array-like, scipy.sparse matrix or torch.Tensor of shape (n_samples, n_features)
        Dense profiles or codes; codes stay sparse.
    labels : array-like of shape (n_samples,)
        Perturbations. Rows without one (None, NaN, "") take no part; leave out controls that way.
    pairs : array-like of shape (n_pairs, 2), optional
        Labels that are known to be related, such as genes of one complex. Order, repetitions and
        pairs with an unknown label do not matter. By default, profiles of the same label are what
        belongs together.
    diffby : array-like of shape (n_samples,), or mapping or DataFrame of such, optional
        Both profiles of a pair, also in the null, must differ in each of these, such as the plate.
    low, high : float, default=0.05 and 0.95
        Quantiles of the null at which its tails begin; low=0 leaves out the lower one.
    n_null : int, default=5000
        Profiles on either side of the null, drawn with replacement, so that n_null**2 float64
        cosines are held. With no more profiles than that, the null has all pairs, once.
    random_state : int or RandomState, optional
        Seed of that drawing.

    Returns
    -------
    PerturbationRecall
        With `.value` (also ``float(result)``), `.chance`, `.low_tail`, `.high_tail`, `.by_label`
        and `.to_frame()`.

    Raises
    ------
    InputError, InputTypeError
        If shapes disagree, profiles are not finite real numbers, quantiles are out of order, or no
        pair is left to be recalled or compared with.

    See Also
    --------
    mean_average_precision : asks for ranks instead of a threshold.

    Notes
    -----
    EFAAR takes one profile per perturbation and `pairs` (see `icfl.aggregate`).

    References
    ----------
    Celik et al. (2024), PLOS Computational Biology 20; its package EFAAR_benchmarking.

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.metrics import perturbation_recall
    >>> rng = np.random.default_rng(0)
    >>> genes = np.repeat(np.arange(50), 4)
    >>> profiles = rng.normal(size=(50, 30))[genes] + rng.normal(size=(200, 30))
    >>> perturbation_recall(profiles, genes)
    PerturbationRecall(0.880, chance=0.100, n_pairs=300)
    """
    check_number(low, "low", low=0.0, high=1.0)
    check_number(high, "high", low=0.0, high=1.0)
    if low >= high:  # the tails would overlap
        raise InputError(f"low must be below high, got {low} and {high}")
    check_count(n_null, "n_null")
    n_samples = int(profiles.shape[0] if hasattr(profiles, "shape") else len(profiles))
    codes, names = encode_labels(labels, n_samples)
    used = np.flatnonzero(codes >= 0)
    if len(names) < 2:
        raise InputError(f"labels must have at least two values, got {names.tolist()}")
    table = _Table(
        unit_profiles(profiles, used),
        codes[used],
        constraint_codes(diffby, "diffby", n_samples, used),
    )
    bounds, n_cosines = table.bounds(low, high, n_null, random_state)
    related = None if pairs is None else _related(pairs, names)
    tails, counts = table.recalled(bounds, related, len(names))
    return _result(tails, counts, names, bounds, n_cosines, low + 1.0 - high)


def _result(
    tails: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    names: npt.NDArray[Any],
    bounds: tuple[float, float],
    n_null: int,
    chance: float,
) -> PerturbationRecall:
    # Row 0 has all pairs, the others those of each label.
    n_pairs = int(counts[0])
    if n_pairs == 0:
        raise InputError("labels must give at least one pair that belongs together, got none")
    low_tail, high_tail = (float(tail / n_pairs) for tail in tails[0])
    seen = np.flatnonzero(counts[1:])
    by_label = tails[1:].sum(axis=1)[seen] / counts[1:][seen]
    return PerturbationRecall(
        value=float(tails[0].sum() / n_pairs),
        low_tail=low_tail,
        high_tail=high_tail,
        chance=chance,
        n_pairs=n_pairs,
        n_null=n_null,
        low=bounds[0],
        high=bounds[1],
        labels=names[seen],
        by_label=by_label,
        n_pairs_by_label=counts[1:][seen],
    )


@dataclass
class _Table:
    """Unit profiles with their labels and with what pairs must differ in."""

    units: Any
    numbers: Integers
    diffby: list[Integers]

    def bounds(
        self, low: float, high: float, n_null: int, random_state: Any
    ) -> tuple[tuple[float, float], int]:
        """Return the cosines beyond which a pair is in a tail, and the size of the null."""
        parts = [np.zeros(0)]
        if len(self.numbers) <= n_null:
            parts.extend(self._all_null())
        else:
            rng = check_random_state(random_state)
            parts.extend(self._drawn_null(*(rng.randint(len(self.numbers), size=(2, n_null)))))
        null = np.concatenate(parts)
        del parts
        if len(null) == 0:
            raise InputError("labels must leave pairs of different labels for the null, got none")
        null.sort()
        # #(null <= x) <= low N means x < null[floor(low N)], counted from 0.
        first = math.floor(low * len(null))
        last = math.ceil(high * len(null)) - 1
        lower = float(null[first]) if first < len(null) else math.inf
        upper = float(null[last]) if last >= 0 else -math.inf
        return (lower if low > 0 else -math.inf, upper), len(null)

    def _all_null(self) -> Iterator[_Floats]:
        columns = np.arange(len(self.numbers))
        for rows, cosines in cosine_blocks(self.units, self.units):
            later = columns > columns[rows, None]
            yield cosines[later & allowed(rows, [], [self.numbers, *self.diffby])]

    def _drawn_null(self, first: Integers, second: Integers) -> Iterator[_Floats]:
        for rows, cosines in cosine_blocks(self.units[first], self.units[second]):
            keep = np.ones(cosines.shape, dtype=bool)
            for codes in (self.numbers, *self.diffby):
                keep &= codes[first[rows], None] != codes[second]
            yield cosines[keep]

    def recalled(
        self, bounds: tuple[float, float], related: Any, n_labels: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count pairs in the low and high tails, and all: in total, then for each label."""
        tails = np.zeros((n_labels + 1, 2), dtype=np.int64)
        counts = np.zeros(n_labels + 1, dtype=np.int64)
        columns = np.arange(len(self.numbers))
        for rows, cosines in cosine_blocks(self.units, self.units):
            belongs = _belongs(self.numbers[rows], self.numbers, related)
            belongs &= (columns > columns[rows, None]) & allowed(rows, [], self.diffby)
            i, j = np.nonzero(belongs)
            one, other = self.numbers[rows][i], self.numbers[j]
            found = cosines[i, j]
            kinds = (found < bounds[0], found > bounds[1])
            for tail, inside in enumerate(kinds):
                tails[:, tail] += _by_label(one[inside], other[inside], n_labels)
            counts += _by_label(one, other, n_labels)
        return tails, counts


def _belongs(rows: Integers, columns: Integers, related: Any) -> npt.NDArray[np.bool_]:
    if related is None:
        return np.asarray(rows[:, None] == columns)
    return np.asarray(related[rows].toarray()[:, columns])


def _by_label(one: Integers, other: Integers, n_labels: int) -> npt.NDArray[np.int64]:
    """Count pairs, then those in which each label takes part."""
    counts = np.bincount(one, minlength=n_labels)
    counts += np.bincount(other[other != one], minlength=n_labels)
    return np.concatenate([[len(one)], counts]).astype(np.int64)


def _related(pairs: npt.ArrayLike, names: npt.NDArray[Any]) -> Any:
    """Return a sparse symmetric matrix of which labels are related, without themselves."""
    given = np.asarray(pairs)
    if given.ndim != 2 or given.shape[1] != 2:
        raise InputError(f"pairs must be of shape (n_pairs, 2), got {given.shape}")
    numbers = {name: number for number, name in enumerate(names.tolist())}
    places = [[numbers.get(label, -1) for label in pair] for pair in given.tolist()]
    both = np.array(places, dtype=np.intp).reshape(-1, 2)
    both = both[(both >= 0).all(axis=1) & (both[:, 0] != both[:, 1])]
    one, other = np.concatenate([both, both[:, ::-1]]).T
    ones = np.ones(len(one), dtype=bool)
    return sparse.csr_array((ones, (one, other)), shape=(len(names), len(names)), dtype=bool)
