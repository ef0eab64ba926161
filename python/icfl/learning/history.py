"""What a run of training remembers besides the dictionary: counters, usage, and the history.

A run is a pure function of data, parameters, seed and step, so these few numbers, the dictionary
and the update's own arrays are all that a resumed run needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl.learning.stepper import Outcome
from icfl.metrics._column_moments import ColumnMoments

__all__ = ["Run", "Window"]


@dataclass
class Window:
    """Sums over the mini-batches since the last entry of the history.

    Attributes
    ----------
    moments : ColumnMoments
        Moments of the prepared rows.
    residual : float
        Σ‖x − x̂‖² over the rows, each reconstructed before the update of its mini-batch.
    cosine : float
        Sum over the rows of the cosine between x and x̂.
    nonzeros, replaced : int
        Non-zeros in the codes, atoms replaced.
    """

    moments: ColumnMoments
    residual: float = 0.0
    cosine: float = 0.0
    nonzeros: int = 0
    replaced: int = 0

    @classmethod
    def empty(cls, n_features: int) -> Window:
        """Return a window that has seen nothing."""
        return cls(ColumnMoments(0, np.zeros(n_features), np.zeros(n_features)))

    @property
    def n_rows(self) -> int:
        """Rows seen."""
        return self.moments.n_samples

    def add(self, outcome: Outcome) -> None:
        """Take in a mini-batch."""
        residual, cosine, mean, centred_ss = outcome.sums
        self.moments.merge(ColumnMoments(outcome.n_rows, mean, centred_ss))
        self.residual += residual
        self.cosine += cosine
        self.nonzeros += outcome.n_nonzero
        self.replaced += outcome.n_replaced

    def summary(self) -> dict[str, float]:
        """Return the averages over the window; explained variance is NaN if the rows are equal."""
        total = float(self.moments.centred_ss.sum())
        return {
            "explained_variance": 1.0 - self.residual / total if total > 0 else float("nan"),
            "cosine": self.cosine / self.n_rows,
            "l0": self.nonzeros / self.n_rows,
            "replaced": self.replaced,
        }

    def get_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the sums, and the arrays."""
        sums = {name: getattr(self, name) for name in _SUMS} | {"n_rows": self.n_rows}
        return sums, {
            "window_mean": self.moments.mean,
            "window_centred_ss": self.moments.centred_ss,
        }

    @classmethod
    def from_state(cls, sums: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Window:
        """Return the window of that state."""
        moments = ColumnMoments(sums["n_rows"], arrays["window_mean"], arrays["window_centred_ss"])
        return cls(moments, **{name: sums[name] for name in _SUMS})


_SUMS = ("residual", "cosine", "nonzeros", "replaced")


@dataclass
class Run:
    """Counters, usage and history of one run.

    Attributes
    ----------
    seed : int
        All randomness comes from it and the step number.
    last_active : ndarray of shape (n_components,), int64
        Samples seen when each atom was last part of a code; 0 if it never was.
    window : Window
        Statistics since the last entry of `history`.
    input_norm : float
        Mean norm of the rows before they were prepared.
    input_scale : float
        What rows are multiplied by when they are prepared.
    step, n_samples_seen : int
        Finished steps, and rows in them.
    epoch, seconds : float
        Passes over the data, and seconds spent in the steps.
    history : list of dict
        Entries as in ``ICFL.history_``.
    best : float
        Best explained variance on held-back rows.
    stale : int
        Evaluations since it improved by more than ``tol``.
    """

    seed: int
    last_active: NDArray[np.int64]
    window: Window
    input_norm: float = 0.0
    input_scale: float = 1.0
    step: int = 0
    n_samples_seen: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = -np.inf
    stale: int = 0

    @classmethod
    def start(cls, seed: int, n_components: int, n_features: int) -> Run:
        """Return a run before its first step."""
        return cls(seed, np.zeros(n_components, np.int64), Window.empty(n_features))

    def note(self, outcome: Outcome) -> None:
        """Count a finished step."""
        self.step += 1
        self.n_samples_seen += outcome.n_rows
        self.last_active[outcome.active] = self.n_samples_seen
        self.window.add(outcome)

    def dead(self, window: int) -> float:
        """Return the share of atoms without an activation in the last `window` samples seen."""
        since = max(0, self.n_samples_seen - window)
        return float(np.mean(self.last_active <= since))

    def record(self, dead_window: int, validation: float | None) -> dict[str, Any]:
        """Close the window: append its entry to the history and return it."""
        entry: dict[str, Any] = {
            "step": self.step,
            "epoch": self.epoch,
            "n_samples_seen": self.n_samples_seen,
            **self.window.summary(),
            "dead": self.dead(dead_window),
            "seconds": self.seconds,
        }
        if validation is not None:
            entry["validation_explained_variance"] = validation
        self.history.append(entry)
        self.window = Window.empty(len(self.window.moments.mean))
        return entry

    def get_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return everything as JSON can hold it, and the arrays."""
        sums, arrays = self.window.get_state()
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        numbers |= {"window": sums, "history": list(self.history)}
        return numbers, {"last_active": self.last_active.copy(), **arrays}

    @classmethod
    def from_state(cls, numbers: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Run:
        """Return the run of that state."""
        return cls(
            last_active=arrays["last_active"],
            window=Window.from_state(numbers["window"], arrays),
            history=list(numbers["history"]),
            **{name: numbers[name] for name in _NUMBERS},
        )


_NUMBERS = (
    "seed",
    "input_norm",
    "input_scale",
    "step",
    "n_samples_seen",
    "epoch",
    "seconds",
    "best",
    "stale",
)
