"""Pictures of the demonstration's results, with matplotlib (the extra `report`).

Figures are made without pyplot, so neither a display nor a global state is involved.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from scipy.sparse import csr_array

from icfl.exceptions import MissingDependencyError
from icfl.metrics import Selectivity, selectivity
from icfl.report.panels import (
    STYLE,
    draw_curves,
    draw_heat_map,
    draw_history,
    draw_probes,
)

__all__ = ["draw_all"]

HEAT_MAP_TITLE = "What features respond to: selectivity of dictionary features for cell types"
CURVE_TITLE = "Reconstruction against sparsity"
PROBE_TITLE = "Cell type, read by a linear probe"
HISTORY_TITLE = "Learning curve"


def draw_all(
    folder: Path,
    results: Mapping[str, Any],
    codes: csr_array,
    cell_types: NDArray[Any],
    names: Mapping[str, str],
) -> dict[str, str]:
    """Write every picture.

    Parameters
    ----------
    folder : pathlib.Path
        Where to.
    results : mapping
        What `results.json` holds.
    codes : csr_array of shape (n_samples, n_components)
        Codes of the saved model.
    cell_types : ndarray of shape (n_samples,)
        Labels of the heat map.
    names : mapping of str to str
        Methods and what pictures call them.

    Returns
    -------
    pictures : dict of str to str
        File names and what each shows.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependencyError(
            'pictures need matplotlib: pip install "icfl[report]"'
        ) from error
    found = selectivity(codes, cell_types, kind="average")
    with mpl.rc_context(STYLE):
        _save(_overview(results, found, names), folder / "overview.png")
        _save(_heat_map(found), folder / "selectivity.png")
        _save(_curves(results, names), folder / "reconstruction.png")
        _save(_history(results), folder / "learning_curve.png")
    return {
        "overview.png": "The demonstration in one picture",
        "selectivity.png": HEAT_MAP_TITLE,
        "reconstruction.png": CURVE_TITLE,
        "learning_curve.png": HISTORY_TITLE,
    }


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    # No metadata of date or version: equal results give equal files.
    figure.savefig(path, metadata={"Software": None})


def _add_colour_bar(figure: Any, image: Any, axes: Any) -> None:
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("P(active | type) - P(active | other)")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)


def _heat_map(found: Selectivity) -> Any:
    figure = _figure(10, 4)
    axes = figure.subplots()
    _add_colour_bar(figure, draw_heat_map(axes, found), axes)
    axes.set_title(HEAT_MAP_TITLE)
    return figure


def _curves(results: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    figure = _figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    draw_curves(left, results, names, "cosine_similarity", "cosine similarity, held-out plates")
    draw_curves(right, results, names, "explained_variance", "explained variance, held-out plates")
    left.set_title(CURVE_TITLE)
    return figure


def _history(results: Mapping[str, Any]) -> Any:
    figure = _figure(6, 3.8)
    axes = figure.subplots()
    draw_history(axes, results["history"])
    axes.set_title(HISTORY_TITLE)
    return figure


def _overview(results: Mapping[str, Any], found: Selectivity, names: Mapping[str, str]) -> Any:
    figure = _figure(12, 7.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.1, 1], hspace=0.04)
    axes = top.subplots()
    _add_colour_bar(top, draw_heat_map(axes, found), axes)
    axes.set_title(HEAT_MAP_TITLE)
    curves, probes, history = bottom.subplots(1, 3, width_ratios=[1.15, 1, 0.85])
    draw_curves(curves, results, names, "cosine_similarity", "cosine similarity, held-out plates")
    draw_probes(probes, results, names, "cell_type")
    draw_history(history, results["history"])
    for panel, title in ((curves, CURVE_TITLE), (probes, PROBE_TITLE), (history, HISTORY_TITLE)):
        panel.set_title(title)
    return figure
