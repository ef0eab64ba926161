"""One row from inputs to result: answers first, then time."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from speed.case import OURS, Case, Contender, Row, Run, Size, WrongAnswerError
from speed.machine import load_average
from speed.timing import ATTEMPTS, Spread, ratios, time_contenders

__all__ = ["ContenderResult", "RowResult", "run_row"]


class PeerError(RuntimeError):
    """A peer returned no answer."""


@dataclass
class ContenderResult:
    """What a contender did. `ratio`: samples per second of ours by its own, of each repetition."""

    name: str
    n_samples: int
    note: str = ""
    failure: str | None = None
    seconds: list[float] = field(default_factory=list)
    ratio: Spread | None = None
    peak_mib: int | None = None

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
    error: str | None = None
    contenders: list[ContenderResult] = field(default_factory=list)
    inputs_mib: int | None = None
    load: tuple[float | None, float | None] = (None, None)
    target: str = ""

    @property
    def ours(self) -> ContenderResult:
        return self.contenders[0]

    @property
    def peers(self) -> list[ContenderResult]:
        return self.contenders[1:]


def run_row(row: Row, size: Size, repetitions: int, rest: float) -> RowResult:
    """Check the answers of a row, then time it. A wrong answer is reported and nothing is timed."""
    result = RowResult(row.name, row.title, row.unit)
    before = load_average()
    try:
        _measure(row.build(size), result, repetitions, rest)
        if size != "quick":  # tiny sizes measure overheads
            result.target = _target(row, result)
    except WrongAnswerError as error:
        result.error = f"wrong answer: {error}"
    except Exception as error:  # one row must not take the others with it
        result.error = f"{type(error).__name__}: {error}"
    result.load = before, load_average()
    gc.collect()
    return result


def _measure(case: Case, result: RowResult, repetitions: int, rest: float) -> None:
    result.sizes = case.sizes
    shown = {
        c.name: ContenderResult(c.name, c.n_samples, c.note, c.missing) for c in case.contenders
    }
    result.contenders = list(shown.values())
    runs: dict[str, Run] = {}
    found: dict[str, Any] = {}
    for contender in (c for c in case.contenders if c.missing is None):
        try:
            runs[contender.name] = contender.setup()
            found[contender.name] = _answer(contender, runs[contender.name])
        except Exception as error:  # a peer that breaks is shown as broken
            if contender.name == OURS:
                raise
            shown[contender.name].failure = f"failed: {type(error).__name__}: {error}"
    result.checked = case.check(found)
    present = [c for c in case.contenders if c.name in found]
    found.clear()  # some answers are large
    seconds, failed = time_contenders(present, runs, repetitions, rest=rest)
    for contender in present:
        entry = shown[contender.name]
        entry.seconds, entry.failure = seconds[contender.name], failed.get(contender.name)
        if contender.name != OURS and entry.failure is None:
            entry.ratio = Spread.of(ratios(seconds, contender, case.ours))


def _answer(contender: Contender, run: Run) -> Any:
    """Run once, which also warms it up; a refused answer is tried again, as in timing."""
    for _ in range(ATTEMPTS):
        answer = run()
        reason = contender.refuse(answer)
        if reason is None:
            return answer
    raise PeerError(f"{ATTEMPTS} times: {reason}")


def _target(row: Row, result: RowResult) -> str:
    wanted = row.target
    if wanted.seconds is not None:
        reached = Spread.of(result.ours.seconds).median
        return f"< {wanted.seconds} s: {'met' if reached < wanted.seconds else 'missed'}"
    if wanted.ratio is None:
        return ""
    ratio = next((peer.ratio for peer in result.peers if peer.name == wanted.peer), None)
    verdict = (
        "not measured" if ratio is None else "met" if ratio.median >= wanted.ratio else "missed"
    )
    return f"at least {wanted.ratio:g} times {wanted.peer}: {verdict}"
