"""`icfl fit`: activations and controls to a model file."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from icfl.cli.console import Console
from icfl.cli.options import (
    add_data_options,
    count,
    count_or_auto,
    load_data,
    nonnegative,
    nonzero,
    selected_rows,
    share_or_ledoit_wolf,
    threshold_or_auto,
)
from icfl.exceptions import InputError
from icfl.io import Activations, Table
from icfl.io.files import check_writable

if TYPE_CHECKING:
    from icfl.whitening import ControlWhitener

SUMMARY = "whiten from controls and learn a dictionary"
DESCRIPTION = """\
Whiten activations from their control samples, learn a dictionary by ICFL or a sparse autoencoder,
and save both as one model file."""
EXAMPLES = """\
examples:
  icfl fit X.npy --output model.safetensors --whiten none
  icfl fit X.npy --metadata wells.csv --control 'treatment=DMSO' --output model.safetensors
  icfl fit wells.parquet --features 'Cells_*,Nuclei_*' --control is_control --batch plate \\
      --batch-correction center-scale --n-components 2048 --output model.safetensors
  icfl fit X.npy --learner topk --n-nonzero 32 --whiten none --output model.safetensors
  icfl fit X.npy --whiten none --output model.safetensors --checkpoint fit.ckpt --resume"""

LEARNERS = {
    "icfl": "ICFL",
    "topk": "TopKSAE",
    "batch-topk": "BatchTopKSAE",
    "matryoshka": "MatryoshkaSAE",
    "abs-topk": "AbsTopKSAE",
    "jump-relu": "JumpReLUSAE",
    "matching-pursuit": "MatchingPursuitSAE",
}

# Options handed to the learner as they are; those not given keep its own defaults.
LEARNER_OPTIONS = (
    "n_components",
    "n_nonzero",
    "n_iterations",
    "atoms_per_iteration",
    "refit",
    "threshold",
    "update",
    "batch_size",
    "max_iter",
    "max_steps",
    "random_state",
    "n_jobs",
    "checkpoint",
    "device",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `icfl fit`."""
    add_data_options(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="where to write the model")
    _add_whitening_options(parser)
    _add_learner_options(parser)


def run(options: argparse.Namespace, console: Console) -> None:
    """Fit and write the model."""
    _check(options)
    learner = _learner(options)
    controls = [expression.partition("=")[0] for expression in options.control]
    activations, metadata = load_data(options, console, [*controls, *filter(None, [options.batch])])
    for _ in activations.chunks():  # names the first value that is not finite before work begins
        pass
    started = time.perf_counter()
    X: Any = activations.X
    steps: list[tuple[str, Any]] = []
    if options.whiten != "none":
        whitener, X = _whiten(options, activations, metadata, console)
        steps.append(("whiten", whitener))
    _fit(learner, X, console, resume=options.resume)
    steps.append((options.learner.replace("-", "_"), learner))
    if activations.feature_names is not None:  # so that other tables are matched by name
        steps[0][1].feature_names_in_ = np.array(activations.feature_names, dtype=object)
    model = Pipeline(steps) if len(steps) > 1 else learner
    seconds = time.perf_counter() - started
    _write(model, options.output)
    _report(options, console, learner, activations, seconds)


def _add_whitening_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("whitening")
    group.add_argument(
        "--whiten", choices=["pca", "zca", "none"], default="pca", help="default: pca"
    )
    group.add_argument(
        "--control",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="which samples are controls; a boolean column alone will do; may be given several "
        "times (default: every sample)",
    )
    group.add_argument(
        "--batch-correction", choices=["center-scale", "coral"], help="needs --batch"
    )
    group.add_argument(
        "--shrinkage",
        type=share_or_ledoit_wolf,
        metavar="S",
        help="ledoit-wolf or a share from 0 to 1 (default: none)",
    )
    group.add_argument(
        "--whitened-components", type=count, metavar="K", help="directions to keep (default: all)"
    )


def _add_learner_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("dictionary")
    group.add_argument(
        "--n-components", type=count_or_auto, metavar="M", help="atoms (default: 8 x features)"
    )
    group.add_argument(
        "--learner", choices=list(LEARNERS), default="icfl", help="what learns (default: icfl)"
    )
    group.add_argument(
        "--n-nonzero", type=count, metavar="K", help="non-zeros of a sample (autoencoders)"
    )
    group.add_argument("--n-iterations", type=count, metavar="J", help="rounds of pursuit (icfl)")
    group.add_argument(
        "--atoms-per-iteration", type=count, metavar="L", help="atoms per round (icfl)"
    )
    group.add_argument(
        "--refit",
        choices=["joint", "block"],
        help="which coefficients a round fits: all, or as published (icfl; default: joint)",
    )
    group.add_argument(
        "--threshold",
        type=threshold_or_auto,
        metavar="T",
        help="least inner product to join, or auto (icfl)",
    )
    group.add_argument(
        "--update", choices=["adam", "online"], help="how the dictionary moves (icfl)"
    )
    group.add_argument("--batch-size", type=count, metavar="B", help="samples per step")
    group.add_argument("--max-iter", type=count, metavar="N", help="most passes over the data")
    group.add_argument("--max-steps", type=count, metavar="N", help="most mini-batches")
    group.add_argument("--seed", dest="random_state", type=nonnegative, metavar="N")
    group.add_argument("--n-jobs", type=nonzero, metavar="N", help="threads (default: all cores)")
    group.add_argument("--device", metavar="D", help="train with PyTorch on it, such as cuda")
    group.add_argument("--checkpoint", metavar="FILE", help="save the state of the fit here")
    group.add_argument("--resume", action="store_true", help="go on from --checkpoint if it exists")


def _check(options: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is read."""
    if options.resume and not options.checkpoint:
        raise InputError("--resume needs --checkpoint")
    if options.batch_correction and not options.batch:
        raise InputError("--batch-correction needs --batch")
    if options.whiten == "none":
        for name in ("control", "batch_correction", "shrinkage", "whitened_components"):
            if getattr(options, name):
                raise InputError(f"--{name.replace('_', '-')} needs --whiten pca or zca")
    check_writable(options.output)
    if options.checkpoint:
        check_writable(options.checkpoint)


def _whiten(
    options: argparse.Namespace, activations: Activations, metadata: Table, console: Console
) -> tuple[ControlWhitener, NDArray[np.float32]]:
    """Return the fitted whitener and the whitened data, float32 (n_samples, n_whitened)."""
    from icfl.whitening import ControlWhitener

    control = selected_rows(metadata, options.control) if options.control else None
    batch = metadata[options.batch] if options.batch_correction else None
    if control is None:
        console.note("no --control: whitening from every sample")
    else:
        console.note(f"controls: {np.count_nonzero(control):,} of {len(control):,} samples")
    whitener = ControlWhitener(
        options.whitened_components,
        method=options.whiten,
        shrinkage=options.shrinkage,
        batch_correction=options.batch_correction,
    ).fit(activations.X, control=control, batch=batch)
    parts = []
    with console.progress("whiten", len(activations)) as progress:
        for rows, values in activations.chunks():
            found = whitener.transform(values, batch=None if batch is None else batch[rows])
            parts.append(found.astype(np.float32, copy=False))
            progress.move_to(rows.stop)
    return whitener, np.concatenate(parts)


def _learner(options: argparse.Namespace) -> Any:
    import icfl

    cls = getattr(icfl, LEARNERS[options.learner])
    given = {name: getattr(options, name) for name in LEARNER_OPTIONS}
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen:
        if name not in cls().get_params(deep=False):
            raise InputError(f"--{name.replace('_', '-')} is not an option of {options.learner}")
    if "max_steps" in chosen:  # alone it means that many, however few passes they make
        chosen.setdefault("max_iter", None)
    return cls(**chosen)


def _fit(learner: Any, X: Any, console: Console, *, resume: bool) -> None:
    """Fit, showing how many mini-batches are done."""
    with console.progress("fit", 1, unit="mini-batches") as bar:

        def show(state: Any) -> None:
            bar.total = state.n_steps
            bar.move_to(state.step)

        learner.fit(X, resume=resume, callback=show)


def _write(model: Any, path: str) -> None:
    from icfl.persistence import save

    save(model, path)


def _report(
    options: argparse.Namespace,
    console: Console,
    learner: Any,
    activations: Activations,
    seconds: float,
) -> None:
    values = {
        "output": options.output,
        "n_samples": len(activations),
        "n_features": activations.shape[1],
        "n_components": len(learner.components_),
        "n_steps": int(learner.n_steps_),
        "seconds": seconds,
    }
    console.result(
        values,
        f"{options.output}: {values['n_components']:,} atoms from {values['n_samples']:,} samples "
        f"x {values['n_features']:,} features, {values['n_steps']:,} steps, {seconds:.1f} s",
    )
