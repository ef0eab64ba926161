"""Best features beside what luck would give, and what features tell of plates.

The fits are those of `claims`. The naive estimate chooses a feature on the rows that it is scored
on; "by luck" is the same with labels permuted within groups; the corrected one chooses on others.
"""

from __future__ import annotations

import argparse

from .claims import FULL, LABEL, TINY, compared, print_means, titles
from .entrants import CHANCE, available
from .markdown import Column, note
from .real_data import chosen_data

COLUMNS = (
    Column("selectivity, average, naive", f"{LABEL}:selectivity_average_naive"),
    Column("by luck", f"{LABEL}:selectivity_average_null"),
    Column("corrected", f"{LABEL}:selectivity_average_corrected"),
    Column("maximum, naive", f"{LABEL}:selectivity_maximum_naive"),
    Column("by luck", f"{LABEL}:selectivity_maximum_null"),
    Column("corrected", f"{LABEL}:selectivity_maximum_corrected"),
    Column("AUROC, corrected", f"{LABEL}:auroc_corrected"),
    Column("leakage", f"{LABEL}:batch_leakage"),
    Column("flagged, %", f"{LABEL}:flagged_fraction", decimals=1, scale=100),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this command alone takes."""
    parser.add_argument("--tokens", help="an .npz of tokens of images, beside the wells")
    parser.add_argument("--cache", help="folder that keeps fits, so that a run can go on")


def run(options: argparse.Namespace) -> None:
    """Print a table for each of the data."""
    size = TINY if options.tiny else FULL
    entrants, missing = available(CHANCE)
    for data in chosen_data(options.tokens, tiny=options.tiny):
        k = size.sparsities[0]
        found = compared(entrants, data, k, size, options)
        title, about = titles(data, k, size, options)
        print_means(found, f"Luck and plates, {title}", about, COLUMNS)
        note(missing)
