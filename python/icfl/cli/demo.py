"""`icfl demo`: the whole way on a real Cell Painting screen that comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from icfl.cli.console import Console
from icfl.cli.options import nonnegative
from icfl.exceptions import InputError

SUMMARY = "the whole way on a real Cell Painting screen"
DESCRIPTION = """\
Load 1,298 wells of a Cell Painting screen, whiten from the control wells, fit ICFL, encode, and
compare with raw inputs, TopK and BatchTopK autoencoders, PCA and a random dictionary of equal
sparsity on plates that were held out. Writes the model, codes, results and, with matplotlib,
pictures and a page to look at."""
EXAMPLES = """\
examples:
  icfl demo
  icfl demo --output cells --seed 1
  icfl demo --quick --json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `icfl demo`."""
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="default: ./demo")
    parser.add_argument("--seed", type=nonnegative, default=0, metavar="N", help="default: 0")
    parser.add_argument("--quick", action="store_true", help="two plates held out instead of six")
    parser.add_argument(
        "--force", action="store_true", help="write into FOLDER although it exists already"
    )


def run(options: argparse.Namespace, console: Console) -> None:
    """Run the demonstration and print its table."""
    from icfl.report.demo import run_demo
    from icfl.report.tables import demo_table

    if Path(options.output).is_dir() and not options.force:
        raise InputError(
            f"--output folder {options.output!r} exists already: choose another or add --force"
        )
    results = run_demo(
        options.output,
        seed=options.seed,
        quick=options.quick,
        overwrite=options.force,
        note=console.note,
        progress=console.progress,
    )
    console.result(results, demo_table(results))
