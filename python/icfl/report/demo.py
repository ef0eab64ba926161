"""The whole way on a real screen: whiten, learn, encode, compare, and write it all down.

The data are 1,298 wells of a Cell Painting screen on six plates. Every number about reconstruction
and every probe comes from plates that nothing was fitted on (`icfl.report.comparison`). The saved
model is fitted on all wells; selectivity is counted with it, as a description of the screen.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, save_npz
from sklearn.pipeline import Pipeline

from icfl.coding.model import seen_by
from icfl.datasets import load_cell_lines
from icfl.io.files import check_free, new_folder
from icfl.learning.icfl import ICFL
from icfl.persistence import save
from icfl.report.comparison import Recipe, compare, folds, summary
from icfl.report.evaluation import code_numbers, reconstruction_numbers, selectivity_counts
from icfl.report.names import METHODS
from icfl.report.progress import Progress
from icfl.report.rivals import pursuit, random_atoms
from icfl.whitening import ControlWhitener

__all__ = ["LEARNER", "WHITENER", "run_demo"]

# 174 controls do not determine a 139 x 139 covariance: shrinkage.
WHITENER: dict[str, Any] = {"method": "pca", "shrinkage": "ledoit-wolf"}

# The paper's 8,192 atoms and 20 rounds of 5 belong to 40 million crops of 1,024 features. Of 139
# features, 100 non-zeros would leave nothing to explain: 2 rounds of 5, from 256 atoms.
LEARNER: dict[str, Any] = {
    "n_components": 256,
    "n_iterations": 2,
    "atoms_per_iteration": 5,
    "batch_size": 256,
    "max_iter": 30,
}
CURVE_ITERATIONS = tuple(range(1, 9))
SELECTIVITY_LABELS = ("cell_type", "perturbation", "plate", "time_point")
PROBE_LABELS = ("cell_type", "perturbation")
PACKAGES = ("icfl", "numpy", "scipy", "scikit-learn")

Labels = dict[str, NDArray[Any]]


def run_demo(
    output: str | os.PathLike[str],
    *,
    seed: int = 0,
    quick: bool = False,
    overwrite: bool = False,
    note: Callable[[str], None] = lambda text: None,
    progress: Callable[..., Progress] = Progress,
) -> dict[str, Any]:
    """Run the demonstration and write its folder.

    Parameters
    ----------
    output : str or os.PathLike
        Folder for `model.safetensors`, `codes.npz`, `results.json` and, with matplotlib,
        pictures and `index.html`.
    seed : int, default=0
        Decides everything that is random.
    quick : bool, default=False
        Hold out one plate of each layout instead of all six in turn.
    overwrite : bool, default=False
        Whether `output` may exist.
    note : callable, default=nothing
        Told in a few words what is being done.
    progress : callable, default=Progress
        Called as ``progress(title, total, unit=...)`` for a bar.

    Returns
    -------
    results : dict
        What `results.json` holds.

    Raises
    ------
    InputError
        If `output` exists and `overwrite` is false.
    """
    check_free(Path(output), overwrite=overwrite)
    clock = Clock()
    screen = load_cell_lines()
    labels = demo_labels(screen)
    note(
        f"{len(screen.data):,} wells x {screen.data.shape[1]} features, "
        f"{np.count_nonzero(screen.control)} control wells, "
        f"{len(np.unique(labels['plate']))} plates"
    )
    compared = _compare(screen, labels, seed, quick, progress)
    clock.lap("held_out_plates")
    model, inputs, codes = _final_model(screen, seed)
    clock.lap("model_of_all_wells")
    results = {
        "data": _description(screen),
        "settings": {"whitener": WHITENER, "learner": LEARNER},
        "seed": seed,
        "quick": quick,
        **compared,
        "model": _model_numbers(model, inputs, codes),
        "selectivity": _selectivity(model, inputs, codes, labels, seed),
        "history": model.steps[-1][1].history_,
        "versions": versions(),
        "machine": machine(),
    }
    with new_folder(output, overwrite=overwrite) as folder:
        save(model, folder / "model.safetensors")
        save_npz(folder / "codes.npz", codes)
        _draw(folder, results, codes, labels, note)
        clock.lap("pictures")
        results["seconds"] = clock.laps
        (folder / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False))
    return results


class Clock:
    """Seconds of each part."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Note the seconds since the last call under `name`."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


def demo_labels(screen: Any) -> Labels:
    """Return the label columns asked about, (n_samples,) each; "" is no label.

    Lines without an engineered construct have no perturbation; left in, "none" would ask for the
    cell line again.
    """
    labels: Labels = {name: screen.labels[name] for name in SELECTIVITY_LABELS}
    perturbation = labels["perturbation"]
    labels["perturbation"] = np.where(perturbation == "none", "", perturbation)
    return labels


def versions() -> dict[str, str]:
    """Return the versions that the numbers depend on."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in PACKAGES
    }


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    from icfl import _core

    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "instructions": _core.simd_level(),
    }


def _recipe(seed: int) -> Recipe:
    return Recipe(lambda: ControlWhitener(**WHITENER), lambda: ICFL(**LEARNER, random_state=seed))


def _compare(
    screen: Any, labels: Labels, seed: int, quick: bool, progress: Callable[..., Progress]
) -> dict[str, Any]:
    """Return the numbers of all methods on held-out plates."""
    plates = np.unique(labels["plate"])
    held_out = [plates[0], plates[-1]] if quick else list(plates)
    asked = {name: labels[name] for name in PROBE_LABELS}
    found = []
    with progress("held out", len(held_out), unit="plates") as bar:
        for fold in folds(screen.data, screen.control, labels["plate"], held_out, _recipe(seed)):
            found.append(compare(fold, asked, CURVE_ITERATIONS, seed + 1))
            bar.advance()
    return {
        "held_out": {"by": "plate", "groups": [str(plate) for plate in held_out]},
        "chance": {name: 1 / len(np.unique(y[y != ""])) for name, y in asked.items()},
        "methods": summary(found),
    }


def _final_model(screen: Any, seed: int) -> tuple[Pipeline, NDArray[np.float32], csr_array]:
    """Return the pipeline fitted on all wells, its dictionary's inputs, and the codes."""
    recipe = _recipe(seed)
    whitener = recipe.whitener().fit(screen.data, control=screen.control)
    white = whitener.transform(screen.data)
    learner = recipe.learner().fit(white)
    return (
        Pipeline([("whiten", whitener), ("icfl", learner)]),
        seen_by(learner, white),
        learner.transform(white),
    )


def _description(screen: Any) -> dict[str, Any]:
    n_samples, n_features = screen.data.shape
    return {
        "name": "cell_lines",
        "n_samples": n_samples,
        "n_features": n_features,
        "n_controls": int(np.count_nonzero(screen.control)),
    }


def _model_numbers(
    model: Pipeline, inputs: NDArray[np.float32], codes: csr_array
) -> dict[str, Any]:
    """Return the numbers of the saved model on the wells it was fitted on."""
    reconstructions = model.steps[-1][1].inverse_transform(codes)
    return {**code_numbers(codes), **reconstruction_numbers(inputs, reconstructions)}


def _selectivity(
    model: Pipeline, inputs: NDArray[np.float32], codes: csr_array, labels: Labels, seed: int
) -> dict[str, Any]:
    """Return selective features of the saved model and of a random dictionary, by label."""
    learner = model.steps[-1][1]
    random = pursuit(random_atoms(learner, inputs, seed + 1), learner)
    by_method = {"icfl": codes, "random_dictionary": random.transform(inputs)}
    return {
        label: {method: selectivity_counts(Z, y) for method, Z in by_method.items()}
        for label, y in labels.items()
    }


def _draw(
    folder: Path,
    results: dict[str, Any],
    codes: csr_array,
    labels: Labels,
    note: Callable[[str], None],
) -> None:
    """Write pictures and page, or say which extra brings them."""
    if util.find_spec("matplotlib") is None:
        note('no pictures: matplotlib is missing; pip install "icfl[report]"')
        return
    from icfl.report.page import write_page
    from icfl.report.pictures import draw_all

    pictures = draw_all(folder, results, codes, labels["cell_type"], METHODS)
    write_page(folder, results, pictures)
