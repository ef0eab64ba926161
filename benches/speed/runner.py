"""One row from inputs to result: answers first, then time."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

from speed.case import OURS, Case, Contender, Row, Run, Size, WrongAnswerError
from speed.machine import load_average
from speed.result import ContenderResult, RowResult
from speed.timing import ATTEMPTS, Spread, ratios, time_contenders

__all__ = ["run_row"]


class PeerError(RuntimeError):
    """A peer returned no answer."""


def run_row(row: Row, size: Size, repetitions: int, rest: float) -> RowResult:
    """Check the answers of a row, then time it. A wrong answer is reported and nothing is timed."""
    result = RowResult(row.name, row.title, row.unit)
    before = load_average()
    try:
        _measure(row.build(size), result, repetitions, rest)
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
        c.name: ContenderResult(c.name, c.n_samples, c.note, c.missing, target=c.target)
        for c in case.contenders
    }
    result.contenders = list(shown.values())
    runs: dict[str, Run] = {}
    found: dict[str, Any] = {}
    for contender in (c for c in case.contenders if c.missing is None):
        entry = shown[contender.name]
        try:
            runs[contender.name] = contender.setup()
            found[contender.name] = _answer(contender, runs[contender.name])
            entry.details = contender.details(found[contender.name])
        except Exception as error:  # a peer that breaks is shown as broken
            if contender.name == OURS:
                raise
            entry.failure = f"failed: {type(error).__name__}: {error}"
    result.checked = case.check(found)
    present = [c for c in case.contenders if c.name in found]
    found.clear()  # some answers are large
    timed = time_contenders(present, runs, repetitions, rest=rest)
    for contender in present:
        entry, own = shown[contender.name], timed[contender.name]
        entry.seconds, entry.failure, entry.cut_short = own.seconds, own.failure, own.cut_short
        if contender.name != OURS and entry.failure is None and timed[OURS].failure is None:
            pairs = ratios(own.seconds, timed[OURS].seconds, contender, case.ours)
            entry.ratio = Spread.of(pairs)
    result.footnote = case.footnote(_rates(result.contenders))


def _rates(contenders: list[ContenderResult]) -> Mapping[str, float]:
    return {c.name: c.rate for c in contenders if c.seconds and c.failure is None}


def _answer(contender: Contender, run: Run) -> Any:
    """Run once, which also warms it up; a refused answer is tried again, as in timing."""
    for _ in range(ATTEMPTS):
        answer = run()
        reason = contender.refuse(answer)
        if reason is None:
            return answer
    raise PeerError(f"{ATTEMPTS} times: {reason}")
