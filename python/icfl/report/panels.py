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
    "inputs": "#222222",
    "icfl": "#0072b2",
    "pca_largest": "#d55e00",
    "pca": "#e69f00",
    "random_dictionary": "#8c8c8c",
}
MARKERS = {"inputs": "D", "icfl": "o", "pca_largest": "s", "pca": "^", "random_dictionary": "v"}

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
    _name_ends(axes, ends, names)
    used = results["methods"]["icfl"]["l0"]["mean"]
    axes.axvline(used, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        "used here",
        (used, 0.02),
        xycoords=("data", "axes fraction"),
        xytext=(4, 0),
        textcoords="offset points",
        color="#555555",
        fontsize=8,
    )
    axes.set_xlim(0, max(x for x, _ in ends.values()) * 1.02)
    axes.set_ylim(0, 1)
    axes.grid(axis="y")
    axes.set_xlabel("non-zeros per well (mean)")
    axes.set_ylabel(label)


def draw_probes(axes: Any, results: Mapping[str, Any], names: Methods, label: str) -> None:
    """Draw what probes read of `label` on held-out plates: a point and its spread per method."""
    rows = _probe_rows(results, names, label)
    for place, (_, method, space, score) in enumerate(rows):
        filled = space != "reconstructions"
        axes.errorbar(
            score["mean"],
            -place,
            xerr=score["std"],
            color=COLOURS[method],
            marker=MARKERS[method],
            markerfacecolor=COLOURS[method] if filled else "white",
            markeredgewidth=1.4,
            markersize=6,
            elinewidth=1.4,
            capsize=0,
        )
    chance = results["chance"][label]
    axes.axvline(chance, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        "chance",
        (chance, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        color="#555555",
        fontsize=8,
    )
    axes.set_yticks([-place for place in range(len(rows))], [row[0] for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.6 - len(rows), 0.6)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("balanced accuracy (mean ± sd over plates)")


def draw_history(axes: Any, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw how reconstruction rose and dead features vanished while the dictionary was learnt."""
    epochs = [entry["epoch"] for entry in history]
    lines = (
        ("cosine", "cosine similarity", "#0072b2"),
        ("explained_variance", "explained variance", "#009e73"),
        ("dead", "dead features (share)", "#8c8c8c"),
    )
    ends = {}
    for name, title, colour in lines:
        values = [entry[name] for entry in history]
        axes.plot(epochs, values, color=colour)
        ends[title] = (values[-1], colour)
    for height, (title, (_, colour)) in zip(
        _apart([value for value, _ in ends.values()], 0.07), ends.items(), strict=True
    ):
        axes.annotate(
            title,
            (epochs[-1], height),
            xytext=(0, 7),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=colour,
            fontsize=8,
        )
    axes.set_xlim(0, epochs[-1])
    axes.set_ylim(0, 1)
    axes.grid(axis="y")
    axes.set_xlabel("passes over the wells")
    axes.set_ylabel("on the mini-batches")


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
    axes.set_xlabel("feature (number in the dictionary)")
    return image


def _probe_rows(
    results: Mapping[str, Any], names: Methods, label: str
) -> list[tuple[str, str, str, Mapping[str, Any]]]:
    """Return (title, method, space, score) of each probe, inputs first."""
    rows = []
    for method, title in names.items():
        for space, score in results["methods"][method]["probes"][label].items():
            alone = len(results["methods"][method]["probes"][label]) == 1
            rows.append((title if alone else f"{title}, {space}", method, space, score))
    return rows


def _name_ends(axes: Any, ends: Mapping[str, tuple[float, float]], names: Methods) -> None:
    """Write each method's name to the right of where its line ends, without overlap."""
    heights = _apart([y for _, y in ends.values()], 0.055)
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
