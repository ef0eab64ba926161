"""Print the speed table: icfl beside PyTorch, scikit-learn, SPAMS, NumPy and SciPy.

Every row checks its answers before it times anything. Contenders run alternately in one process on
all cores, and ratios are taken repetition by repetition; docs/performance.md has the rest.

    python benches/table.py                                    all rows, with memory
    python benches/table.py --full                             the same on the largest inputs
    python benches/table.py --only icfl topk --repetitions 7
    python benches/table.py --markdown docs/performance.md     put the table into that page
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from speed.case import Row, Size
from speed.machine import describe_machine, load_average, versions
from speed.peak import Peak, measure
from speed.report import SECTION, to_markdown, to_text, write_json
from speed.result import RowResult
from speed.rows import ROWS
from speed.runner import run_row
from speed.sections import check_section, replace_section
from speed.separate import run_separately
from speed.targets import judge
from speed.timing import REST

RESULTS = Path(__file__).parent / "results"
Peaks = dict[str, dict[str, Peak]]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick",
        action="store_const",
        dest="size",
        const="quick",
        help="tiny sizes: shows that everything runs, says nothing of speed",
    )
    size.add_argument(
        "--full",
        action="store_const",
        dest="size",
        const="full",
        help="the largest sizes: a million rows to whiten, all settings of peers to the end",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=ROWS,
        metavar="ROW",
        default=list(ROWS),
        help=f"rows to run: {', '.join(ROWS)}",
    )
    parser.add_argument("--repetitions", type=int, default=3, help="pairs to time (default: 3)")
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        help="also peak memory, each contender in a process of its own (default: unless --quick)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of table.json")
    parser.add_argument(
        "--markdown",
        nargs="?",
        const="-",
        metavar="PAGE",
        help="print Markdown, or put it between the markers of PAGE",
    )
    parser.set_defaults(size="standard")
    options = parser.parse_args(arguments)
    if options.repetitions < 1:
        parser.error("--repetitions must be at least 1")
    if options.memory is None:
        options.memory = options.size != "quick"
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    prepare_outputs(options)
    about: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": versions(),
        "size": options.size,
        "repetitions": options.repetitions,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load_start": load_average(),
    }
    start = time.monotonic()
    rows = [ROWS[name] for name in options.only]
    # Before anything else: what this process holds is then not there for the children to take.
    peaks = measure_memory(rows, options.size) if options.memory else {}
    results = [run(row, options, peaks.get(row.name, {})) for row in rows]
    about["load_end"] = load_average()
    about["minutes"] = round((time.monotonic() - start) / 60, 1)
    write_json(options.output / "table.json", results, about)
    show(results, about, options.markdown)
    return int(any(result.error for result in results))


def prepare_outputs(options: argparse.Namespace) -> None:
    """Fail now rather than after minutes of work."""
    options.output.mkdir(parents=True, exist_ok=True)
    if options.markdown not in (None, "-"):
        check_section(Path(options.markdown), SECTION)


def measure_memory(rows: list[Row], size: Size) -> Peaks:
    peaks: Peaks = {}
    for row in (row for row in rows if row.memory and row.absent() is None):
        case = row.build("quick")  # for the names alone
        progress(f"{row.name}: memory")
        peaks[row.name] = measure(row, [c.name for c in case.contenders if not c.missing], size)
    return peaks


def run(row: Row, options: argparse.Namespace, peaks: dict[str, Peak]) -> RowResult:
    absent = row.absent()
    if absent is not None:
        return RowResult(row.name, row.title, row.unit, absent=absent)
    progress(f"{row.name}: answers and time")
    rest = 0.0 if options.size == "quick" else REST
    measured = run_separately if row.environment else run_row
    result = measured(row, options.size, options.repetitions, rest)
    for entry in (entry for entry in result.contenders if entry.name in peaks):
        entry.peak_mib, entry.added_mib = peaks[entry.name].total, peaks[entry.name].added
    if options.size != "quick":  # tiny sizes measure overheads
        judge(result)
    for line in [*result.checked, *filter(None, [result.error, result.footnote])]:
        progress(f"  {line}")
    return result


def show(results: list[RowResult], about: dict[str, Any], markdown: str | None) -> None:
    if markdown == "-":
        print(to_markdown(results, about))
        return
    print(to_text(results, about))
    if markdown is not None:
        replace_section(Path(markdown), SECTION, to_markdown(results, about))


def progress(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
