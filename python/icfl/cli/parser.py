"""The commands and their options.

Long options are never abbreviated: a misspelt one is an error that names the nearest, not a guess.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from icfl.io.table import suggestion

__all__ = ["build_parser", "parse"]

DESCRIPTION = """\
Sparse dictionary learning for the representations of scientific foundation models:
whiten from controls, learn a dictionary by ICFL, encode, measure what the features mean."""

EXAMPLES = """\
examples:
  icfl demo
      the whole way on a real Cell Painting screen; writes a folder with a page to look at
  icfl fit X.npy --metadata wells.csv --control 'treatment=DMSO' --output model.safetensors
  icfl encode X.npy --model model.safetensors --output codes.npz
  icfl evaluate X.npy --model model.safetensors --metadata wells.csv \\
      --labels cell_type,treatment --groups plate"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **options, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        print(f"icfl: error: {' '.join(message.split())} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options in `arguments`; an unknown one is an error that names the nearest."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        word = unknown[0].split("=")[0]
        parser.error(f"unrecognized argument {word!r}{suggestion(word, options.known_options)}")
    return options


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command `icfl`."""
    from icfl.cli import demo, encode, evaluate, fit

    parser = Parser(prog="icfl", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("--version", action=ShowVersion)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (demo, fit, encode, evaluate):
        name = module.__name__.rpartition(".")[2]
        command = commands.add_parser(
            name, help=module.SUMMARY, description=module.DESCRIPTION, epilog=module.EXAMPLES
        )
        module.add_options(command)
        _finish(command, module.run)
    return parser


class ShowVersion(argparse.Action):
    """Print the version; the package is imported only then."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print `icfl` and its version, and exit."""
        from icfl import __version__

        print(f"icfl {__version__}")
        parser.exit()


def _finish(command: argparse.ArgumentParser, run: Callable[..., None]) -> None:
    """Add the options of every command, and what `parse` and `main` need."""
    command.add_argument("--json", action="store_true", help="print the results as one JSON object")
    command.add_argument("--quiet", action="store_true", help="no notes and no progress bars")
    known = [option for action in command._actions for option in action.option_strings]
    command.set_defaults(run=run, known_options=known)
