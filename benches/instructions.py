"""Count the instructions of every Rust kernel, encoder and update, and compare with the record.

Time on a shared machine varies by tens of per cent; instructions executed on fixed data hardly vary
at all, so that a kernel that lost its vectors or its inlining shows at once. Each case runs alone,
on one thread, under valgrind's callgrind, which counts only what the case itself executes.

    python benches/instructions.py                 compare with benches/instructions.json
    python benches/instructions.py --record        write that file anew
    python benches/instructions.py --only dot      only the cases whose name holds "dot"

The CPU that valgrind simulates ends at AVX2, so code for AVX-512 is not counted. Nor do counts say
anything of memory: a case that waits for it counts the same.

Exit code 1: a case rose by more than 5 %, or cases and record are not the same set. Where valgrind
is missing, or the record is another compiler's, the command says so and passes, unless --strict.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "benches" / "instructions.json"
PROGRAM = "instruction_counts"
COUNTED = f"*{PROGRAM}*counted*"

# Runs repeat to the instruction. What is left is for what other machines may differ in: the C
# library and, by the sizes of caches, how the `gemm` crate cuts its products.
LIMIT_PERCENT = 5


@dataclass(frozen=True)
class Verdict:
    """What a comparison found: lines for the reader, and whether it is a failure."""

    lines: list[str]
    failed: bool


def compare(recorded: Mapping[str, int], found: Mapping[str, int]) -> Verdict:
    """Hold the counts that were found to those of the record."""
    failures, notes = [], []
    for case, count in found.items():
        before = recorded.get(case)
        if before is None:
            failures.append(f"NEW   {case}: not in the record, {count:,} found; record it")
            continue
        told = f"{case}: {before:,} instructions recorded, {count:,} found"
        told += f" ({count / before - 1:+.1%})"
        if 100 * (count - before) > LIMIT_PERCENT * before:
            failures.append(f"RISE  {told}")
        elif 100 * (before - count) > LIMIT_PERCENT * before:
            notes.append(f"fall  {told}; record it")
    gone = sorted(recorded.keys() - found)
    failures += [f"GONE  {case}: in the record, not found; record it" for case in gone]
    return Verdict(failures + notes, bool(failures))


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    reason = cannot_count()
    if reason is not None:
        print(f"Instruction counts were NOT checked: {reason}.", file=sys.stderr)
        return int(options.strict or options.record)
    program = build()
    found = count_all(program, options.only)
    if options.record:
        record(found)
        print(f"{len(found)} counts recorded in {RECORD.relative_to(ROOT)}")
        return 0
    return judge(json.loads(RECORD.read_text(encoding="utf-8")), found, options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--record", action="store_true", help="write the record anew")
    parser.add_argument("--only", default="", metavar="PART", help="cases whose name holds this")
    parser.add_argument(
        "--strict", action="store_true", help="fail also where counts cannot be compared"
    )
    options = parser.parse_args(arguments)
    if options.record and options.only:
        parser.error("--record takes all cases, not --only some")
    return options


def judge(kept: Mapping[str, Any], found: Mapping[str, int], options: argparse.Namespace) -> int:
    """Print what the comparison says, and return the exit code."""
    recorded = {case: n for case, n in kept["counts"].items() if options.only in case}
    verdict = compare(recorded, found)
    other = differences(kept["made_with"])
    for line in [*verdict.lines, *other]:
        print(line, file=sys.stderr)
    if other and not options.strict:
        print("Counts of another compiler are not held against the code.", file=sys.stderr)
        return 0
    if verdict.failed or other:
        print(f"Instructions of {len(found)} cases differ from the record.", file=sys.stderr)
        return 1
    print(f"Instructions: none of {len(found)} cases is {LIMIT_PERCENT} % above the record.")
    return 0


def cannot_count() -> str | None:
    """Say why nothing can be counted here, or return None."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"they are recorded for Linux on x86_64, this is {sys.platform} {platform.machine()}"
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    return None


def made_with() -> dict[str, str]:
    """Return what counts depend on beside the code."""
    told = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(": ", 1) for line in told.splitlines() if ": " in line)
    return {"rustc": told.splitlines()[0], "target": fields["host"]}


def differences(recorded: Mapping[str, str]) -> list[str]:
    """Say in what the tools of the record differ from those here."""
    return [
        f"The record was made with {recorded.get(name)}, this is {here}."
        for name, here in made_with().items()
        if recorded.get(name) != here
    ]


def build() -> Path:
    """Build the program that runs a case, and return where it is."""
    command = ["cargo", "build", "--release", "--package", "icfl-core", "--example", PROGRAM]
    # Flags of the caller, such as target-cpu, would be counted too.
    environment = {k: v for k, v in os.environ.items() if "RUSTFLAGS" not in k}
    done = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    messages = (json.loads(line) for line in done.stdout.splitlines())
    built = (m["executable"] for m in messages if m.get("executable"))
    return Path(next(path for path in built if PROGRAM in path))


def count_all(program: Path, part: str) -> dict[str, int]:
    """Return the instructions of each case, several cases at a time."""
    listed = valgrind("none", program, []).stdout.split()
    cases = [case for case in listed if part in case]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(cases, pool.map(lambda case: count(program, case), cases), strict=True))


def count(program: Path, case: str) -> int:
    """Return the instructions that one case executes."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "profile")
        options = [f"--callgrind-out-file={profile}", f"--toggle-collect={COUNTED}"]
        valgrind("callgrind", program, [case], options)
        total = re.search(r"^totals: (\d+)$", profile.read_text(), re.MULTILINE)
    if total is None or int(total[1]) == 0:
        raise SystemExit(f"{case}: callgrind counted nothing; is {COUNTED} still its name?")
    return int(total[1])


def valgrind(
    tool: str, program: Path, arguments: list[str], options: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the program under a tool, in an environment that is the same for everybody."""
    command = ["valgrind", f"--tool={tool}", "--quiet", *(options or []), str(program), *arguments]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return done


def record(found: Mapping[str, int]) -> None:
    """Write the record beside the old one, then in its place."""
    content = {"made_with": made_with(), "counts": dict(sorted(found.items()))}
    beside = RECORD.with_name(f".{RECORD.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(RECORD)


if __name__ == "__main__":
    sys.exit(main())
