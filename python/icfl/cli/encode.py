"""`icfl encode`: activations and a model to sparse codes."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from scipy.sparse import csr_array, save_npz

from icfl.cli.console import Console
from icfl.cli.options import add_data_options, load_data
from icfl.exceptions import InputError
from icfl.io.files import check_writable, write_beside

SUMMARY = "encode activations with a fitted model"
DESCRIPTION = """\
Encode activations with a model that `icfl fit` wrote, preprocessing included. A .npy file is read
in chunks, so it may be larger than memory."""
EXAMPLES = """\
examples:
  icfl encode X.npy --model model.safetensors --output codes.npz
  icfl encode X.npy --model model.safetensors --metadata wells.csv --batch plate --output codes.npz

  >>> from scipy.sparse import load_npz
  >>> Z = load_npz("codes.npz")            # CSR, (n_samples, n_components)"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `icfl encode`."""
    add_data_options(parser)
    parser.add_argument("--model", required=True, metavar="FILE", help="model to encode with")
    parser.add_argument(
        "--output", required=True, metavar="CODES.npz", help="where to write the codes (CSR)"
    )


def run(options: argparse.Namespace, console: Console) -> None:
    """Encode and write the codes."""
    from icfl.persistence import load
    from icfl.report.applying import apply_chunks, join_codes

    if not options.output.endswith(".npz"):
        raise InputError(f"--output must end in .npz, got {options.output!r}")
    check_writable(options.output)
    model = load(options.model)
    labels = [options.batch] if options.batch else []
    activations, metadata = load_data(options, console, labels)
    batch = metadata[options.batch] if options.batch else None
    started = time.perf_counter()

    def codes() -> Iterator[csr_array]:
        with console.progress("encode", len(activations)) as progress:
            for applied in apply_chunks(model, activations, batch):
                yield applied.codes
                progress.move_to(applied.rows.stop)

    Z = join_codes(codes())
    seconds = time.perf_counter() - started
    with write_beside(options.output) as temporary:
        save_npz(temporary, Z)
    values = {
        "output": options.output,
        "n_samples": Z.shape[0],
        "n_components": Z.shape[1],
        "l0": Z.nnz / Z.shape[0],
        "seconds": seconds,
    }
    console.result(
        values,
        f"{options.output}: {Z.shape[0]:,} samples x {Z.shape[1]:,} features, "
        f"{values['l0']:.2f} non-zeros per sample, {seconds:.1f} s",
    )
