"""The half of `icfl evaluate` that fits learners side by side instead of judging one model."""

from __future__ import annotations

import argparse

from icfl.cli.console import Console
from icfl.cli.options import count, load_data, names, selected_rows
from icfl.exceptions import InputError

__all__ = ["add_comparison_options", "check_options", "run_comparison"]

ONLY_HERE = ("control", "n_components", "n_nonzero", "seeds", "splits", "cache", "table")


def add_comparison_options(parser: argparse.ArgumentParser) -> None:
    """Add what a comparison needs beside data, labels and groups."""
    group = parser.add_argument_group("comparing learners, instead of --model")
    group.add_argument(
        "--learners",
        type=names,
        metavar="A,B",
        help="fit these on the same held-out groups and seeds: icfl, topk, batch_topk, matryoshka, "
        "abs_topk, jump_relu, matching_pursuit, pca, ica, nmf, kmeans, random, raw",
    )
    group.add_argument("--n-components", type=count, metavar="M", help="atoms of each of them")
    group.add_argument("--n-nonzero", type=count, metavar="K", help="non-zeros a row of each")
    group.add_argument(
        "--control",
        action="append",
        metavar="COLUMN=VALUE",
        help="which samples are controls: everything is done without and with whitening by them",
    )
    group.add_argument("--seeds", type=count, metavar="N", help="fits of each (default: 3)")
    group.add_argument("--splits", type=count, metavar="N", help="folds (default: one a group)")
    group.add_argument(
        "--cache", metavar="FOLDER", help="keep what is measured; a stopped run goes on from it"
    )
    group.add_argument("--table", metavar="FILE", help="write every number as .csv too")


def check_options(options: argparse.Namespace) -> None:
    """Say which options do not go together.

    Raises
    ------
    InputError
        If there is neither a model nor a learner, or both, or an option belongs to the other.
    """
    if (options.model is None) == (options.learners is None):
        raise InputError("evaluate needs either --model or --learners")
    if options.learners is None:
        wrong = [name for name in ONLY_HERE if getattr(options, name) is not None]
        other = "--learners"
    else:
        wrong = [name for name in ("codes", "batch") if getattr(options, name) is not None]
        wrong += ["no_probes"] if options.no_probes else []
        other = "--model"
        if not options.labels or options.groups is None:
            raise InputError("--learners needs --labels and --groups")
    if wrong:
        raise InputError(f"--{wrong[0].replace('_', '-')} goes with {other}")


def run_comparison(options: argparse.Namespace, console: Console) -> None:
    """Fit, measure and print."""
    from icfl._files import replace_file
    from icfl.evaluation import compare
    from icfl.report.tables import comparison_table, csv_text

    controls = [expression.partition("=")[0] for expression in options.control or []]
    used = [*options.labels, options.groups, *controls]
    activations, metadata = load_data(options, console, used)
    found = compare(
        options.learners,
        activations.X,
        {name: metadata[name] for name in options.labels},
        metadata[options.groups],
        control=selected_rows(metadata, options.control) if options.control else None,
        n_components=options.n_components,
        n_nonzero=options.n_nonzero,
        n_seeds=options.seeds or 3,
        n_splits=options.splits,
        cache=options.cache,
        progress=console.progress,
    )
    if options.table is not None:
        records = [list(map(str, record)) for record in found.records]
        header = list(found.records[0]._fields)
        replace_file(options.table, [csv_text(header, records).encode()])
    console.result({"rows": found.rows()}, comparison_table(found))
