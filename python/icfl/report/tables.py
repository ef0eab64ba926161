"""Results as text tables: aligned columns, a rule under the header, nothing else."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from icfl.evaluation import Comparison
from icfl.exceptions import InputError
from icfl.report.names import METHODS

__all__ = [
    "comparison_table",
    "csv_text",
    "demo_rows",
    "demo_table",
    "evaluation_table",
    "mean_and_sd",
    "text_table",
]


KINDS = [(kind, limit) for kind in ("average", "maximum") for limit in ("0.5", "0.2")]

FIT_METRICS = {
    "cosine_similarity": "cosine",
    "explained_variance": "explained variance",
    "l0": "l0",
    "dead_fraction": "dead",
    "stability": "stability, seeds",
    "stability_halves": "halves",
    "fit_seconds": "fit, s",
    "fit_mebibytes": "fit, MiB",
}
LABEL_METRICS = {
    "selectivity_average_corrected": "selectivity, average",
    "selectivity_maximum_corrected": "maximum",
    "auroc_corrected": "AUROC",
    "batch_leakage": "leakage",
    "probe_codes": "probe of codes",
    "probe_reconstructions": "of reconstructions",
}
"""What a comparison shows, and under which titles."""

LABEL_TITLES = {
    "cell_type": "cell type",
    "perturbation": "1020 against EV",
    "time_point": "time point",
}


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is left-aligned and all others right-aligned.

    Parameters
    ----------
    header : sequence of str
        Titles of the columns.
    rows : sequence of sequence of str
        Cells, as many per row as there are titles.

    Returns
    -------
    table : str
        Lines without trailing blanks.

    Examples
    --------
    >>> print(text_table(["method", "l0"], [["ICFL", "19.9"], ["PCA", "20"]]))
    method    l0
    ------  ----
    ICFL    19.9
    PCA       20
    """
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [_line(row, widths) for row in cells]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def mean_and_sd(summary: Mapping[str, Any]) -> str:
    """Return "mean ± sd" of a summary with the keys "mean" and "std"."""
    return f"{summary['mean']:.3f} ± {summary['std']:.3f}"


def evaluation_table(results: Mapping[str, Any]) -> str:
    """Return what `icfl evaluate` prints: numbers of the codes, then one table per question."""
    numbers = [
        ["cosine similarity", f"{results['cosine_similarity']:.4f}"],
        ["explained variance", f"{results['explained_variance']:.4f}"],
        ["l0 (mean non-zeros)", f"{results['l0']:.2f}"],
        ["features", f"{results['n_components']}"],
        ["dead share", f"{results['dead_fraction']:.4f}"],
    ]
    parts = [text_table(["measure", "value"], numbers)]
    if results["selectivity"]:
        parts.append("Selective features\n" + _selectivity_table(results["selectivity"]))
    if results["probes"]:
        parts.append("Linear probes, balanced accuracy\n" + _probe_table(results["probes"]))
        nested = [label for label in results["selectivity"] if label not in results["probes"]]
        if nested:
            parts.append(f"Not probed, each value lies within one group: {', '.join(nested)}")
    return "\n\n".join(parts)


def comparison_table(found: Comparison) -> str:
    """Return what `icfl evaluate --learners` prints: means over held-out groups with intervals."""
    present = {(record.whitening, record.label, record.metric) for record in found.records}
    parts = []
    for whitening in dict.fromkeys(record.whitening for record in found.records):
        for label in dict.fromkeys(record.label for record in found.records):
            titles = LABEL_METRICS if label else FIT_METRICS
            shown = {
                name: title for name, title in titles.items() if (whitening, label, name) in present
            }
            if shown:
                rows = [
                    [
                        learner,
                        *(_interval(found, learner, name, whitening, label) for name in shown),
                    ]
                    for learner in found.learners
                ]
                what = f"{label}, " if label else ""
                table = text_table(["learner", *shown.values()], rows)
                parts.append(f"{what}whitening: {whitening}\n{table}")
    n_groups = max((row["n_groups"] for row in found.rows()), default=0)
    parts.append(
        f"Means over {n_groups} held-out folds, with {found.confidence:.0%} intervals (Student); "
        "selectivity, AUROC: mean over labels of the best feature, chosen on the other groups; "
        "leakage: what features tell of the groups held out, labels being equal, from 0 to 1; "
        "stability: mean cosine of matched atoms of two fits, from other seeds or to two halves of "
        "all rows."
    )
    return "\n\n".join(parts)


def _interval(found: Comparison, learner: str, metric: str, whitening: str, label: str) -> str:
    try:
        value = found.interval(learner, metric, whitening=whitening, label=label)
    except InputError:  # nothing of that kind was measured of this learner
        return "-"
    if value.n_groups < 2:
        return f"{value.mean:.3f}"
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


def csv_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as comma-separated values, quoted where they have to be."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def demo_table(results: Mapping[str, Any]) -> str:
    """Return what `icfl demo` prints: `demo_rows` as text."""
    parts = [f"{title}\n{text_table(header, rows)}" for title, header, rows in demo_rows(results)]
    seconds = sum(results["seconds"].values())
    return "\n\n".join([*parts, f"{seconds:.0f} s in all"])


def demo_rows(results: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return the tables of the demonstration as (title, header, rows)."""
    n_plates = len(results["held_out"]["groups"])
    held_out = f"on plates that nothing was fitted on (mean ± sd over {n_plates} held-out plates)"
    n_samples = f"{results['data']['n_samples']:,}"
    return [
        (f"Reconstruction {held_out}", *_reconstruction_rows(results)),
        (f"Linear probes, balanced accuracy {held_out}", *_demo_probe_rows(results)),
        (
            f"Selective features of the saved model on all {n_samples} wells "
            "(labels were not used to fit it)",
            *_demo_selectivity_rows(results),
        ),
        (f"The saved model on the {n_samples} wells it was fitted on", *_model_rows(results)),
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = row[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([first, *rest]).rstrip()


def _selectivity_table(selectivity: Mapping[str, Any]) -> str:
    header = ["label", "values", "average > 0.5", "> 0.2", "maximum > 0.5", "> 0.2"]
    rows = [
        [
            column,
            str(entry["n_labels"]),
            *[str(entry[kind][limit]) for kind, limit in KINDS],
        ]
        for column, entry in selectivity.items()
    ]
    return text_table(header, rows)


def _probe_table(probes: Mapping[str, Any]) -> str:
    header = ["label", "held out", "chance", "inputs", "codes", "reconstructions"]
    rows = [
        [
            column,
            entry["held_out"],
            f"{entry['chance']:.3f}",
            *[mean_and_sd(entry[name]) for name in ("inputs", "codes", "reconstructions")],
        ]
        for column, entry in probes.items()
    ]
    return text_table(header, rows)


def _model_rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    model = results["model"]
    header = ["features", "cosine similarity", "explained variance", "l0", "dead share"]
    row = [f"{model['n_components']}"]
    row += [f"{model['cosine_similarity']:.3f}", f"{model['explained_variance']:.3f}"]
    row += [f"{model['l0']:.1f}", f"{model['dead_fraction']:.3f}"]
    return header, [row]


def _reconstruction_rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["method", "cosine similarity", "explained variance", "l0", "features", "unused"]
    rows = [
        [
            METHODS[method],
            mean_and_sd(entry["cosine_similarity"]),
            mean_and_sd(entry["explained_variance"]),
            f"{entry['l0']['mean']:.1f}",
            str(entry["n_components"]),
            f"{entry['dead_fraction']['mean']:.3f}",
        ]
        for method, entry in results["methods"].items()
        if entry["l0"] is not None
    ]
    return header, rows


def _demo_probe_rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    labels = list(results["chance"])
    titles = [
        f"{LABEL_TITLES.get(label, label)} (chance {results['chance'][label]:.2f})"
        for label in labels
    ]
    rows = []
    for method, entry in results["methods"].items():
        spaces = next(iter(entry["probes"].values()))
        for space in spaces:
            name = METHODS[method] if len(spaces) == 1 else f"{METHODS[method]}, {space}"
            rows.append([name, *[mean_and_sd(entry["probes"][label][space]) for label in labels]])
    return ["probe on", *titles], rows


def _demo_selectivity_rows(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    header = ["label", "values", "dictionary", "average > 0.5", "> 0.2"]
    header += ["maximum > 0.5", "> 0.2", "values covered"]
    rows = [
        [
            LABEL_TITLES.get(label, label),
            str(counts["n_labels"]),
            METHODS[method],
            *[str(counts[kind][limit]) for kind, limit in KINDS],
            str(counts["labels_covered"]),
        ]
        for label, methods in results["selectivity"].items()
        for method, counts in methods.items()
    ]
    return header, rows
