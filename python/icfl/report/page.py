"""A page to look at: the demonstration's tables and pictures, in one plain HTML file.

It refers to the pictures beside it and to nothing else, so the folder can be moved or sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from icfl.report.tables import demo_rows

__all__ = ["write_page"]

STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 68rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
img { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #e6e6e6;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
footer { color: #555; font-size: .85rem; margin-top: 3rem; }"""


def write_page(folder: Path, results: Mapping[str, Any], pictures: Mapping[str, str]) -> None:
    """Write `index.html`.

    Parameters
    ----------
    folder : pathlib.Path
        Where to; the pictures are there too.
    results : mapping
        What `results.json` holds.
    pictures : mapping of str to str
        File names and what each shows; the first one opens the page.
    """
    first, *others = [_picture(name, title) for name, title in pictures.items()]
    tables = [
        f"<h2>{escape(title)}</h2>\n{_table(header, rows)}"
        for title, header, rows in demo_rows(results)
    ]
    parts = [_introduction(results), first, *tables, *others, _footer(results)]
    body = "\n".join(parts)
    (folder / "index.html").write_text(
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>ICFL on a Cell Painting screen</title>\n<style>\n{STYLE}\n</style></head>\n"
        f"<body>\n{body}\n</body></html>\n",
        encoding="utf-8",
    )


def _introduction(results: Mapping[str, Any]) -> str:
    data, learner = results["data"], results["settings"]["learner"]
    return (
        "<h1>ICFL on a Cell Painting screen</h1>\n"
        f"<p>{data['n_samples']:,} wells, {data['n_features']} CellProfiler features, whitened "
        f"from {data['n_controls']} control wells. The dictionary has {learner['n_components']} "
        f"atoms; a well is written with {results['model']['l0']:.1f} of them. Reconstruction and "
        "probes are measured on plates that neither whitener, dictionary nor probe has seen.</p>"
    )


def _picture(name: str, title: str) -> str:
    return f'<p><img src="{escape(name)}" alt="{escape(title)}"></p>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    body = "\n".join(lines)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _footer(results: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    machine = results["machine"]
    return (
        f"<footer>Seed {results['seed']}. {escape(versions)}. {machine['system']} on "
        f"{machine['architecture']}, {machine['cores']} cores, {machine['instructions']}. "
        'Files: <a href="results.json">results.json</a>, '
        '<a href="model.safetensors">model.safetensors</a>, <a href="codes.npz">codes.npz</a>.'
        "</footer>"
    )
