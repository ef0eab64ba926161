"""What a row of the table is made of: inputs, contenders for the same work, a check of answers.

A row builds a `Case` for a size. A contender is set up (imports, layouts, what its users would do
once) outside the clock; what its `run` does is timed. Packages of peers are imported in `setup`
only, so that a process that runs one contender holds nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

__all__ = ["OURS", "Case", "Contender", "Row", "Size", "Target", "WrongAnswerError", "require"]

OURS = "icfl"
DISTRIBUTIONS = {
    "sae_lens": "sae-lens",
    "sklearn": "scikit-learn",
    "spams": "spams-bin",
    "sparsify": "eai-sparsify",
}  # what to install for an import
Size = Literal["quick", "standard", "full"]
Run = Callable[[], Any]


class WrongAnswerError(AssertionError):
    """An answer is not what the definition says: nothing of this row is worth timing."""


def require(condition: object, message: str) -> None:
    """Raise `WrongAnswerError` unless the condition holds; unlike `assert`, also under ``-O``."""
    if not condition:
        raise WrongAnswerError(message)


def _accept(answer: Any) -> str | None:
    return None


def _no_seconds(answer: Any) -> float | None:
    return None


def _no_details(answer: Any) -> Mapping[str, Any]:
    return {}


def _no_footnote(rates: Mapping[str, float]) -> str:
    return ""


@dataclass(frozen=True)
class Target:
    """What we have to show beside a peer, or alone.

    Attributes
    ----------
    ratio : float, optional
        How many times as many samples per second.
    memory_share : float, optional
        Memory beyond the inputs, at most this share of the peer's.
    seconds : float, optional
        Time of our own, whatever the peers take.
    text : str
        What the table says instead of "at least `ratio`".
    """

    ratio: float | None = None
    memory_share: float | None = None
    seconds: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes
    ----------
    name : str
        As the table shows it.
    setup : callable
        Returns the function that is timed.
    n_samples : int
        Samples that one run deals with. Peers that would take minutes get fewer; the table
        compares samples per second of what was run and extrapolates nothing. In a row whose unit
        is "pairs/s" these are pairs of a feature and a label, all of them over the same samples.
    package : str, optional
        Import name of what must be installed.
    note : str
        What a reader has to know of it.
    refuse : callable
        Given an answer, says why it is none (or None): some peers fail now and then.
    seconds : callable
        Given an answer, the time it took by its own clock, or None to use ours.
    cut_short : callable
        Given an answer, says how far it came if it was stopped before its goal (or None): its time
        is then a lower bound.
    details : callable
        Given the first answer, what else the result keeps of it.
    target : Target
        What we have to show beside this peer.
    """

    name: str
    setup: Callable[[], Run]
    n_samples: int
    package: str | None = None
    note: str = ""
    refuse: Callable[[Any], str | None] = _accept
    seconds: Callable[[Any], float | None] = _no_seconds
    cut_short: Callable[[Any], str | None] = _accept
    details: Callable[[Any], Mapping[str, Any]] = _no_details
    target: Target = field(default_factory=Target)

    @property
    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        if self.package is None or find_spec(self.package) is not None:
            return None
        return f"missing: {DISTRIBUTIONS.get(self.package, self.package)}"


@dataclass(frozen=True)
class Case:
    """Inputs of one size, made; `check` gets the answer of every contender and returns facts.

    `footnote` gets samples per second by contender and says what else follows from them.
    """

    sizes: Mapping[str, int | str]
    ours: Contender
    peers: Sequence[Contender]
    check: Callable[[Mapping[str, Any]], list[str]]
    footnote: Callable[[Mapping[str, float]], str] = _no_footnote

    @property
    def contenders(self) -> list[Contender]:
        return [self.ours, *self.peers]


@dataclass(frozen=True)
class Row:
    """A line of work in the table.

    A row with an `environment` runs in a process of its own that has these variables; `absent`
    says why it cannot run on this machine, or None. `memory`: whether its memory says anything.
    """

    name: str
    title: str
    build: Callable[[Size], Case]
    unit: Literal["samples/s", "pairs/s", "s", "ms"] = "samples/s"
    memory: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    absent: Callable[[], str | None] = lambda: None
