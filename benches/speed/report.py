"""The table as text, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speed.result import ContenderResult, RowResult
from speed.sections import write_atomically
from speed.targets import unmet
from speed.timing import Spread

__all__ = ["SECTION", "to_markdown", "to_text", "write_json"]

SECTION = "speed table"
HEADER = ("work", "icfl", "peer", "its rate", "icfl is faster by", "target", "memory, MiB")
# Seen here: 5.3 for the ICFL row at a load of 1.4 to 3.6 on two cores, 8.8 at 3.0 and more.
BUSY = (
    " **The machine was busy with other work.** OpenMP then waits at its barriers for threads that "
    "do not run, so ratios to such peers come out too high: measure again on an idle machine."
)
VERDICTS = {True: "met", False: "missed", None: "not measured"}


def to_text(results: Sequence[RowResult], about: Mapping[str, Any]) -> str:
    """Return the table in columns, and what follows from it."""
    lines = [list(HEADER), *_lines(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n\n".join([describe(about), table, *_footnotes(results), _summary(results)])


def to_markdown(results: Sequence[RowResult], about: Mapping[str, Any]) -> str:
    """Return the table, the machine and what was checked."""
    rows = [list(HEADER), ["---"] * len(HEADER), *_lines(results)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    checked = "\n".join(f"- `{r.name}`: {fact}." for r in results for fact in r.checked)
    parts = [describe(about), table, *_footnotes(results), _summary(results)]
    return "\n\n".join([*parts, "Checked before anything was timed:", checked])


def _footnotes(results: Sequence[RowResult]) -> list[str]:
    return [f"{result.name}: {result.footnote}." for result in results if result.footnote]


def _summary(results: Sequence[RowResult]) -> str:
    """Say how many targets are met, and name the others."""
    n = sum(len(entry.verdicts) for result in results for entry in result.contenders)
    open_ones = [f"{result.name} ({text})" for result in results for text in unmet(result)]
    if not n:
        return "No targets were judged."
    rest = f" Not met: {'; '.join(open_ones)}." if open_ones else ""
    return f"{n - len(open_ones)} of {n} targets are met.{rest}"


def describe(about: Mapping[str, Any]) -> str:
    """Return one paragraph on machine, versions and load."""
    machine, versions = about["machine"], about["versions"]
    software = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['simd']}, "
        f"{machine['memory_gib']} GiB, {machine['system']}; "
        f"load average {about['load_start']} at the start, {about['load_end']} at the end. "
        f"{about['repetitions']} paired repetitions; "
        f"sizes: {about['size']}. {software}."
        f"{BUSY if _was_busy(about) else ''}"
    )


def _was_busy(about: Mapping[str, Any]) -> bool:
    """One contender at a time, with OpenMP's spinning threads, makes a load of about 1.5 a core."""
    cores = int(about["machine"]["cores"])
    return (about["load_start"] or 0.0) > cores or (about["load_end"] or 0.0) > 2 * cores


def write_json(path: Path, results: Sequence[RowResult], about: Mapping[str, Any]) -> None:
    """Write everything that was measured."""
    content = {"about": about, "rows": [result.to_dict() for result in results]}
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _lines(results: Sequence[RowResult]) -> list[list[str]]:
    lines = []
    for result in results:
        if result.absent or not result.contenders:
            said = result.absent or str(result.error)
            lines.append([result.title, said, *[""] * (len(HEADER) - 2)])
            continue
        peers: list[ContenderResult | None] = [*result.peers]
        for i, peer in enumerate(peers or [None]):
            lines.append([*_our_cells(result, first=i == 0), *_peer_cells(result, peer, i == 0)])
    return lines


def _our_cells(result: RowResult, *, first: bool) -> list[str]:
    if not first:
        return ["", ""]
    sizes = ", ".join(f"{k} {_count(v)}" for k, v in result.sizes.items())
    work = f"{result.title} ({sizes})" if sizes else result.title
    return [work, result.error or _speed(result.ours, result.unit)]


def _peer_cells(result: RowResult, peer: ContenderResult | None, first: bool) -> list[str]:
    shown = [entry for entry in (result.ours if first else None, peer) if entry is not None]
    verdicts = "; ".join(
        f"{text}: {VERDICTS[met]}" for entry in shown for text, met in entry.verdicts.items()
    )
    if peer is None:
        return ["", "", "", verdicts, _memory([result.ours])]
    name = f"{peer.name} ({peer.note})" if peer.note else peer.name
    memory = _memory([result.ours, peer])
    return [name, _speed(peer, result.unit), _ratio(peer), verdicts, memory]


def _speed(entry: ContenderResult, unit: str) -> str:
    said = entry.failure or entry.cut_short
    if said or not entry.seconds:
        return said or "not timed"
    median = Spread.of(entry.seconds).median
    if unit == "s":
        return f"{_digits(median)} s"
    if unit == "ms":
        return f"{_digits(1000 * median)} ms"
    counted = " pairs" if unit == "pairs/s" else ""
    return f"{_digits(entry.rate)}{counted}/s on {entry.n_samples:,}"


def _ratio(peer: ContenderResult) -> str:
    if peer.ratio is None:
        return ""
    low, median, high = map(_digits, (peer.ratio.low, peer.ratio.median, peer.ratio.high))
    return f"{'> ' if peer.cut_short else ''}{median} ({low} to {high})"


def _memory(entries: Sequence[ContenderResult]) -> str:
    """Ours and the peer's, or nothing where none was measured."""
    if all(entry.added_mib is None for entry in entries):
        return ""
    return ", ".join("?" if e.added_mib is None else f"{e.added_mib:,}" for e in entries)


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    decimals = 3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def _count(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
