"""Print a table of docs/science.md as Markdown.

    python -m benches.science claims        learners side by side on real data, plates held out
    python -m benches.science chance        best features beside luck, and what tells of plates
    python -m benches.science latents       the latents that stand for labels, on real data
    python -m benches.science probes        what probes read in codes, on real data
    python -m benches.science choices       ICFL's options, one at a time, on planted data
    python -m benches.science planted       learners on a known dictionary, and the best possible
    python -m benches.science transfer      dictionaries learnt on other plates than those judged

Every command takes --seeds, --n-jobs and --tiny, which only shows that it runs.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

from icfl.exceptions import DeadFeaturesWarning

from . import chance, choices, claims, latents, planted, probes, transfer

COMMANDS = {
    "claims": claims,
    "chance": chance,
    "latents": latents,
    "probes": probes,
    "choices": choices,
    "planted": planted,
    "transfer": transfer,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.science",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=str(module.__doc__).splitlines()[0])
        command.add_argument("--seeds", type=int, default=3)
        command.add_argument("--n-jobs", type=int, default=None, help="threads; all cores without")
        command.add_argument("--tiny", action="store_true", help="only show that it runs")
        module.add_options(command)
    options = parser.parse_args(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeadFeaturesWarning)  # the tables have a column for them
        COMMANDS[options.command].run(options)


if __name__ == "__main__":
    main()
