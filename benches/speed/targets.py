"""Whether what was measured meets what was asked."""

from __future__ import annotations

from speed.case import OURS
from speed.result import ContenderResult, RowResult
from speed.timing import Spread

__all__ = ["judge", "unmet"]


def judge(result: RowResult) -> None:
    """Note the verdict on every target of a row; what has not been measured is not met."""
    for entry in result.contenders:
        entry.verdicts = dict(_verdicts(entry, result.ours))


def unmet(result: RowResult) -> list[str]:
    """Return the targets of a row that were missed or could not be measured."""
    return [
        f"{entry.name}: {text}"
        for entry in result.contenders
        for text, met in entry.verdicts.items()
        if not met
    ]


def _verdicts(entry: ContenderResult, ours: ContenderResult) -> list[tuple[str, bool | None]]:
    target, found = entry.target, []
    if target.ratio is not None:
        text = target.text or f"at least {target.ratio:g}"
        met = None if entry.ratio is None else entry.ratio.median >= target.ratio
        if entry.cut_short and not met:  # the ratio is larger than that, by how much is unknown
            met = None
        found.append((text, met))
    if target.memory_share is not None:
        found.append((f"memory at most {target.memory_share:g} of its", _memory(entry, ours)))
    if target.seconds is not None and entry.name == OURS:
        met = None if not ours.seconds else Spread.of(ours.seconds).median < target.seconds
        found.append((f"below {target.seconds:g} s", met))
    return found


def _memory(entry: ContenderResult, ours: ContenderResult) -> bool | None:
    """Compare memory beyond the inputs; a peer with fewer samples can only be beaten, not win."""
    assert entry.target.memory_share is not None
    if entry.added_mib is None or ours.added_mib is None or entry.n_samples > ours.n_samples:
        return None
    met = ours.added_mib <= entry.target.memory_share * entry.added_mib
    return met or (False if entry.n_samples == ours.n_samples else None)
