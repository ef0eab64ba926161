"""`icfl evaluate`: how well a model reconstructs, and what its features know."""

from __future__ import annotations

import argparse
import zipfile
import zlib

import numpy as np
from scipy.sparse import csr_array, load_npz

from icfl.cli.comparing import add_comparison_options, check_options, run_comparison
from icfl.cli.console import Console
from icfl.cli.options import add_data_options, load_data, names
from icfl.exceptions import InputError

SUMMARY = "measure reconstruction, selectivity and what linear probes read"
DESCRIPTION = """\
Measure a model on activations with labels: cosine similarity, explained variance, non-zeros, dead
features, features selective for each label, and linear probes on inputs, codes and reconstructions.
Probes are tested on groups (plates, donors) they were not fitted on; name them with --groups.

Without a model, --learners fits several on all groups but one at a time, at equal width and
sparsity, and compares them on the group held out."""
EXAMPLES = """\
examples:
  icfl evaluate X.npy --model model.safetensors
  icfl evaluate X.npy --model model.safetensors --metadata wells.csv \\
      --labels cell_type,treatment --groups plate
  icfl evaluate X.npy --model model.safetensors --codes codes.npz --json > results.json
  icfl evaluate X.npy --metadata wells.csv --learners icfl,topk,pca --n-components 512 \\
      --n-nonzero 16 --labels cell_type --groups plate --control treatment=DMSO --cache kept"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `icfl evaluate`."""
    add_data_options(parser)
    parser.add_argument("--model", metavar="FILE", help="model to evaluate")
    parser.add_argument("--codes", metavar="FILE", help="codes of X, instead of encoding again")
    parser.add_argument(
        "--labels", type=names, default=[], metavar="A,B", help="columns to ask features about"
    )
    parser.add_argument("--groups", metavar="COLUMN", help="hold out by this column in the probes")
    parser.add_argument("--no-probes", action="store_true", help="skip the linear probes")
    add_comparison_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Evaluate and print the results."""
    check_options(options)
    if options.learners is not None:
        run_comparison(options, console)
        return
    from icfl.persistence import load
    from icfl.report.evaluation import evaluate
    from icfl.report.tables import evaluation_table

    model = load(options.model)
    used = [*options.labels, *filter(None, [options.groups, options.batch])]
    activations, metadata = load_data(options, console, used)
    codes = None if options.codes is None else _load_codes(options.codes)
    results = evaluate(
        model,
        activations,
        labels={name: metadata[name] for name in options.labels},
        groups=metadata[options.groups] if options.groups else None,
        batch=metadata[options.batch] if options.batch else None,
        codes=codes,
        probes=not options.no_probes,
        progress=console.progress,
    )
    console.result(results, evaluation_table(results))


def _load_codes(path: str) -> csr_array:
    """Return codes written by `icfl encode`; nothing is unpickled."""
    try:
        codes = csr_array(load_npz(path))
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} does not hold sparse codes: {error}") from error
    if not np.isfinite(codes.data).all():
        raise InputError(f"{path} holds NaN or infinity")
    return codes
