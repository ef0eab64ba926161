"""What was measured, as values that go through JSON and come back the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from speed.case import Target
from speed.timing import Spread

__all__ = ["ContenderResult", "RowResult"]


@dataclass
class ContenderResult:
    """What a contender did.

    `ratio`: samples per second of ours by its own, of each repetition. `cut_short`: it was stopped
    before its goal, so its seconds, and the ratio, are lower bounds. `peak_mib`: of its whole
    process; `added_mib`: of what it did, beyond the inputs. `verdicts`: every target with whether
    it is met (None: not measured).
    """

    name: str
    n_samples: int
    note: str = ""
    failure: str | None = None
    seconds: list[float] = field(default_factory=list)
    ratio: Spread | None = None
    cut_short: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    peak_mib: int | None = None
    added_mib: int | None = None
    target: Target = field(default_factory=Target)
    verdicts: dict[str, bool | None] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Samples per second of the middle repetition."""
        return self.n_samples / Spread.of(self.seconds).median


@dataclass
class RowResult:
    """A row of the table."""

    name: str
    title: str
    unit: str
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    checked: list[str] = field(default_factory=list)
    footnote: str = ""
    error: str | None = None
    absent: str | None = None
    contenders: list[ContenderResult] = field(default_factory=list)
    load: tuple[float | None, float | None] = (None, None)

    @property
    def ours(self) -> ContenderResult:
        return self.contenders[0]

    @property
    def peers(self) -> list[ContenderResult]:
        return self.contenders[1:]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RowResult:
        """Return what `to_dict` was made of."""
        contenders = [_contender(entry) for entry in content["contenders"]]
        return cls(**{**content, "contenders": contenders, "load": tuple(content["load"])})


def _contender(content: Mapping[str, Any]) -> ContenderResult:
    ratio = content["ratio"] and Spread(**content["ratio"])
    return ContenderResult(**{**content, "ratio": ratio, "target": Target(**content["target"])})
