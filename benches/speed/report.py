"""The table as text, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speed.runner import ContenderResult, RowResult
from speed.timing import Spread

__all__ = ["BEGIN", "END", "check_markers", "replace_table", "to_markdown", "to_text", "write_json"]

BEGIN, END = "<!-- speed table: begin -->", "<!-- speed table: end -->"
HEADER = ("work", "icfl", "peer", "its rate", "icfl is faster by", "target")
# Seen here: 5.3 for the ICFL row at a load of 1.4 to 3.6 on two cores, 8.8 at 3.0 and more.
BUSY = (
    " **The machine was busy with other work.** OpenMP then waits at its barriers for threads that "
    "do not run, so ratios to such peers come out too high: measure again on an idle machine."
)
MEMORY = "peak MiB (inputs, icfl, peer)"


def to_text(results: Sequence[RowResult], about: Mapping[str, Any]) -> str:
    """Return the table in columns."""
    lines = [list(_header(results)), *_lines(results)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    table = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return f"{describe(about)}\n\n{table}"


def to_markdown(results: Sequence[RowResult], about: Mapping[str, Any]) -> str:
    """Return the table, the machine and what was checked."""
    header = _header(results)
    rows = [header, ["---"] * len(header), *_lines(results)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    checked = "\n".join(f"- `{r.name}`: {fact}." for r in results for fact in r.checked)
    return f"{describe(about)}\n\n{table}\n\nChecked before anything was timed:\n\n{checked}"


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
    loads = [about[key] for key in ("load_start", "load_end") if about[key] is not None]
    return max(loads, default=0.0) > 2 * int(about["machine"]["cores"])


def check_markers(page: Path) -> tuple[str, str]:
    """Return what comes before and after the table of a page, or end the program."""
    before, found, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{page} must have the lines {BEGIN!r} and {END!r}")
    return before, after


def replace_table(page: Path, table: str) -> None:
    """Put the table between the markers of a page."""
    before, after = check_markers(page)
    _write(page, f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def write_json(path: Path, results: Sequence[RowResult], about: Mapping[str, Any]) -> None:
    """Write everything that was measured."""
    content = {"about": about, "rows": [asdict(result) for result in results]}
    _write(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _has_memory(results: Sequence[RowResult]) -> bool:
    return any(result.inputs_mib is not None for result in results)


def _header(results: Sequence[RowResult]) -> list[str]:
    return [*HEADER, MEMORY] if _has_memory(results) else list(HEADER)


def _lines(results: Sequence[RowResult]) -> list[list[str]]:
    lines = []
    for result in results:
        for i, peer in enumerate(result.peers):
            line = _peer_line(result, peer, first=i == 0)
            if _has_memory(results):
                peaks = (result.inputs_mib, result.ours.peak_mib, peer.peak_mib)
                line.append(", ".join("?" if peak is None else f"{peak:,}" for peak in peaks))
            lines.append(line)
        if not result.peers:
            lines.append([result.title, str(result.error), *[""] * (len(_header(results)) - 2)])
    return lines


def _peer_line(result: RowResult, peer: ContenderResult, *, first: bool) -> list[str]:
    sizes = ", ".join(f"{k} {_count(v)}" for k, v in result.sizes.items())
    work = f"{result.title} ({sizes})" if sizes else result.title
    ours = result.error or _speed(result.ours, result.unit)
    name = f"{peer.name} ({peer.note})" if peer.note else peer.name
    speed = peer.failure or ("not timed" if not peer.seconds else _speed(peer, result.unit))
    return [
        work if first else "",
        ours if first else "",
        name,
        speed,
        _ratio(peer.ratio),
        result.target if first else "",
    ]


def _speed(entry: ContenderResult, unit: str) -> str:
    if entry.failure or not entry.seconds:
        return entry.failure or "not timed"
    if unit == "s":
        return f"{Spread.of(entry.seconds).median:.3f} s"
    return f"{_digits(entry.rate)}/s on {entry.n_samples:,}"


def _ratio(ratio: Spread | None) -> str:
    if ratio is None:
        return ""
    return f"{_digits(ratio.median)} ({_digits(ratio.low)} to {_digits(ratio.high)})"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    decimals = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{decimals}f}"


def _count(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value
