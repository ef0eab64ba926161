"""The panels of the report's pictures, each drawn on axes it is given.

Colours are those of Okabe and Ito, told apart with any colour vision; every line also has its own
marker and is named where it ends, so that no legend has to be matched by colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage

from icfl.metrics import Selectivity

__all__ = ["STYLE", "draw_curves", "draw_heat_map", "draw_history", "draw_probes", "heat_map_order"]

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
}

COLOURS = {
    "raw": "#222222",
    "inputs": "#222222",
    "icfl": "#0072b2",
    "topk_sae": "#009e73",
    "batch_topk_sae": "#cc79a7",
    "pca_largest": "#d55e00",
    "pca": "#e69f00",
    "random_dictionary": "#8c8c8c",
}
MARKERS = {
    "raw": "X",
    "inputs": "D",
    "icfl": "o",
    "topk_sae": "P",
    "batch_topk_sae": "d",
    "pca_largest": "s",
    "pca": "^",
    "random_dictionary": "v",
}

# Heights of the marks of one row, by their number.
SHIFTS = {1: (0.0,), 2: (0.15, -0.15)}

Methods = Mapping[str, str]


def draw_curves(
    axes: Any, results: Mapping[str, Any], names: Methods, measure: str, label: str
) -> None:
    """Draw `measure` on held-out plates against the number of non-zeros, a line per method."""
    ends = {}
    for method in names:
        points = results["methods"][method]["curve"]
        if not points:
            continue
        x = [point["l0"]["mean"] for point in points]
        y = np.array([point[measure]["mean"] for point in points])
        spread = np.array([point[measure]["std"] for point in points])
        colour = COLOURS[method]
        axes.fill_between(x, y - spread, y + spread, color=colour, alpha=0.12, linewidth=0)
        axes.plot(x, y, color=colour, marker=MARKERS[method], markeredgewidth=0)
        ends[method] = (x[-1], float(y[-1]))
    lowest = min(entry["curve"][0][measure]["mean"] for entry in _with_curves(results))
    bottom = min(np.floor(10 * lowest - 0.3) / 10, 0.8)
    _name_ends(axes, ends, names, gap=0.06 * (1 - bottom))
    used = results["methods"]["icfl"]["l0"]["mean"]
    axes.axvline(used, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    _note(axes, "used here", (used, 0.02))
    axes.set_xlim(0, max(x for x, _ in ends.values()) * 1.02)
    axes.set_ylim(bottom, 1)
    axes.grid(axis="y")
    axes.set_xlabel("non-zeros per well (mean)")
    axes.set_ylabel(label)


def draw_probes(axes: Any, results: Mapping[str, Any], names: Methods, label: str) -> None:
    """Draw what probes read of `label` on held-out plates: one row per method.

    Filled marks are probes on codes, hollow ones on reconstructions.
    """
    for place, method in enumerate(names):
        scores = results["methods"][method]["probes"][label]
        for (space, score), shift in zip(scores.items(), SHIFTS[len(scores)], strict=True):
            axes.errorbar(
                score["mean"],
                shift - place,
                xerr=score["std"],
                color=COLOURS[method],
                marker=MARKERS[method],
                markerfacecolor="white" if space == "reconstructions" else COLOURS[method],
                markeredgewidth=1.4,
                markersize=6,
                elinewidth=1.4,
                capsize=0,
            )
    chance = results["chance"][label]
    axes.axvline(chance, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    _note(axes, "chance", (chance, 0.02))
    _note(axes, "filled: codes\nhollow: reconstructions", (chance, 0.1))
    axes.set_yticks([-place for place in range(len(names))], list(names.values()))
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.6 - len(names), 0.6)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("balanced accuracy (mean ± sd over plates)")


def draw_history(axes: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw how reconstruction rose and dead features vanished while the dictionary was learnt."""
    epochs = [entry["epoch"] for entry in history]
    lines = (
        ("cosine", "cosine similarity", "#0072b2", "bottom"),
        ("explained_variance", "explained variance", "#009e73", "top"),
        ("dead", "dead features (share)", "#8c8c8c", "bottom"),
    )
    for name, title, colour, side in lines:
        values = [entry[name] for entry in history]
        axes.plot(epochs, values, color=colour)
        axes.annotate(
            title,
            (epochs[-1], values[-1]),
            xytext=(0, 5 if side == "bottom" else -6),
            textcoords="offset points",
            ha="right",
            va=side,
            color=colour,
            fontsize=8,
        )
    axes.set_xlim(0, epochs[-1])
    axes.set_ylim(0, 1)
    axes.grid(axis="y")
    axes.set_xlabel("passes over the wells")
    axes.set_ylabel("on the mini-batches, before each update")


def heat_map_order(found: Selectivity, per_label: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which features to show, and the order of the labels, so that a diagonal appears.

    Each label shows the `per_label` features that are most selective for it among those that are
    more selective for it than for any other label. Similar labels are neighbours.
    """
    values = found.values
    tree = linkage(values.T, method="average", metric="correlation", optimal_ordering=True)
    labels = leaves_list(tree).astype(np.intp)
    best = values.argmax(axis=1)
    features: list[int] = []
    for label in labels:
        own = np.flatnonzero(best == label)
        ranked = own[np.argsort(-values[own, label], kind="stable")]
        features.extend(int(feature) for feature in ranked[:per_label])
    return np.array(features, dtype=np.intp), labels


def draw_heat_map(axes: Any, found: Selectivity, per_label: int = 3) -> Any:
    """Draw selectivity of the chosen features (columns) for each label (rows); return the image."""
    features, labels = heat_map_order(found, per_label)
    image = axes.imshow(
        found.values[features][:, labels].T,
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_yticks(range(len(labels)), [str(found.labels[label]) for label in labels])
    axes.set_xticks(range(len(features)), [str(feature) for feature in features], rotation=90)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(features) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(f"feature (the {per_label} most selective for each row)")
    return image


def _note(axes: Any, text: str, place: tuple[float, float]) -> None:
    """Write small grey text to the right of x (data) at height y (share of the axes)."""
    axes.annotate(
        text,
        place,
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        color="#555555",
        fontsize=8,
    )


def _with_curves(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in results["methods"].values() if entry["curve"]]


def _name_ends(
    axes: Any, ends: Mapping[str, tuple[float, float]], names: Methods, gap: float
) -> None:
    """Write each method's name to the right of where its line ends, without overlap."""
    from matplotlib.patheffects import withStroke

    heights = _apart([y for _, y in ends.values()], gap)
    for (method, (x, _)), height in zip(ends.items(), heights, strict=True):
        axes.annotate(
            names[method],
            (x, height),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[method],
            fontsize=8,
            annotation_clip=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],  # over lines of others
        )


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Return the values pushed apart, as little as is needed, until `gap` lies between any two."""
    order = np.argsort(values, kind="stable")
    moved = np.array(values, dtype=float)
    for _ in range(200):
        close = False
        for low, high in pairwise(order):
            lack = gap - (moved[high] - moved[low])
            if lack > 1e-9:
                moved[low] -= lack / 2
                moved[high] += lack / 2
                close = True
        if not close:
            break
    return [float(value) for value in moved]
