"""The table of a comparison: one row a measured number, and means with intervals over groups.

A held-out group is one observation: seeds of one group are averaged first, for they saw the same
rows, and the interval is Student's over the groups. Differences between two learners are taken
within group and seed before anything is averaged, so that what makes one plate harder than another
cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from icfl._frames import frame_of_rows
from icfl._validation import check_number
from icfl.exceptions import InputError

__all__ = ["Comparison", "Interval", "Record", "interval"]


class Record(NamedTuple):
    """One number: of a fit, or of a label (a column of labels) under it."""

    learner: str
    whitening: str
    held_out: str
    seed: int
    label: str
    metric: str
    value: float


class Interval(NamedTuple):
    """A mean over held-out groups with its confidence interval."""

    mean: float
    low: float
    high: float
    n_groups: int
    std_of_seeds: float


@dataclass(frozen=True)
class Comparison:
    """What `icfl.compare` found.

    Attributes
    ----------
    records : tuple of Record
        Every number that was measured, long form; `to_frame` gives them as a table.
    confidence : float
        Level of the intervals.
    """

    records: tuple[Record, ...]
    confidence: float = 0.95

    @property
    def learners(self) -> list[str]:
        """Names of the learners, in the order given."""
        return list(dict.fromkeys(record.learner for record in self.records))

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """(label, metric) pairs; the label is "" for numbers that no label has part in."""
        return list(dict.fromkeys((record.label, record.metric) for record in self.records))

    def values(
        self, learner: str, metric: str, *, whitening: str = "none", label: str = ""
    ) -> dict[tuple[str, int], float]:
        """Return one number of every fit by held-out groups and seed.

        Parameters
        ----------
        learner : str
            Name of a learner.
        metric : str
            What was measured.
        whitening : {"none", "control"}, default="none"
            Under which whitening.
        label : str, default=""
            Which column of labels, for numbers that have to do with one.

        Returns
        -------
        values : dict of (str, int) to float

        Raises
        ------
        InputError
            If there is none: a name is misspelt, or the metric does not apply to any fit.
        """
        wanted = (learner, whitening, label, metric)
        found = {
            (record.held_out, record.seed): record.value
            for record in self.records
            if (record.learner, record.whitening, record.label, record.metric) == wanted
        }
        if not found:
            raise InputError(
                f"nothing was measured of learner={learner!r}, whitening={whitening!r}, "
                f"label={label!r}, metric={metric!r}"
            )
        return found

    def interval(
        self, learner: str, metric: str, *, whitening: str = "none", label: str = ""
    ) -> Interval:
        """Return the mean of a number over held-out groups, with its interval.

        Parameters
        ----------
        learner : str
            Name of a learner.
        metric : str
            What was measured.
        whitening : {"none", "control"}, default="none"
            Under which whitening.
        label : str, default=""
            Which column of labels, for numbers that have to do with one.

        Returns
        -------
        Interval

        Raises
        ------
        InputError
            As `values`.
        """
        return interval(
            self.values(learner, metric, whitening=whitening, label=label), self.confidence
        )

    def difference(
        self, learner: str, other: str, metric: str, *, whitening: str = "none", label: str = ""
    ) -> Interval:
        """Return the mean of `learner` minus `other`, paired by held-out groups and seed.

        Parameters
        ----------
        learner : str
            Name of a learner.
        other : str
            Name of the one it is compared with.
        metric : str
            What was measured.
        whitening : {"none", "control"}, default="none"
            Under which whitening.
        label : str, default=""
            Which column of labels, for numbers that have to do with one.

        Returns
        -------
        Interval

        Raises
        ------
        InputError
            As `values`, or if the two share no fit.
        """
        one = self.values(learner, metric, whitening=whitening, label=label)
        two = self.values(other, metric, whitening=whitening, label=label)
        shared = {key: one[key] - two[key] for key in one if key in two}
        if not shared:
            raise InputError(f"{learner!r} and {other!r} share no held-out group and seed")
        return interval(shared, self.confidence)

    def to_frame(self) -> Any:
        """Return all records as a pandas DataFrame, one row a number.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        return frame_of_rows(self.records, Record._fields)

    def summary(self) -> Any:
        """Return means with intervals as a pandas DataFrame, one row per learner and number.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        return frame_of_rows(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `summary`."""
        by_row: dict[tuple[str, ...], dict[tuple[str, int], float]] = {}
        for record in self.records:
            row = (record.learner, record.whitening, record.label, record.metric)
            by_row.setdefault(row, {})[record.held_out, record.seed] = record.value
        names = ("learner", "whitening", "label", "metric")
        return [
            dict(zip(names, row, strict=True)) | interval(values, self.confidence)._asdict()
            for row, values in by_row.items()
        ]


def interval(values: dict[tuple[str, int], float], confidence: float = 0.95) -> Interval:
    """Return the mean over groups of the means over seeds, with Student's interval.

    Parameters
    ----------
    values : dict of (str, int) to float
        By group and seed.
    confidence : float, default=0.95
        Level.

    Returns
    -------
    Interval
        Without an interval (NaN) where there is one group only; `std_of_seeds` is the root of the
        mean variance of seeds within a group.

    Examples
    --------
    >>> found = interval({("plate 1", 0): 0.5, ("plate 1", 1): 0.7, ("plate 2", 0): 0.8})
    >>> round(found.mean, 3), found.n_groups, round(found.std_of_seeds, 3)
    (0.7, 2, 0.141)
    """
    check_number(confidence, "confidence", low=0.0, closed=False)
    by_group: dict[str, list[float]] = {}
    for (group, _), value in values.items():
        by_group.setdefault(group, []).append(value)
    means = np.array([np.mean(found) for found in by_group.values()])
    mean, n = float(means.mean()), len(means)
    half = float("nan")
    if n > 1:
        error = float(means.std(ddof=1)) / n**0.5
        half = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * error
    return Interval(mean, mean - half, mean + half, n, _std_of_seeds(list(by_group.values())))


def _std_of_seeds(groups: Sequence[Sequence[float]]) -> float:
    variances: NDArray[np.float64] = np.array(
        [np.var(found, ddof=1) for found in groups if len(found) > 1]
    )
    return float(np.sqrt(variances.mean())) if len(variances) else float("nan")
