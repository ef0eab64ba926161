"""The layouts that are known: adding one is a file with this face and a row in `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from icfl.exceptions import InputError, ModelFileError
from icfl.exchange import dictionary_learning, openai, sae_lens, saev, sparsify
from icfl.exchange.weights import Weights

__all__ = ["LAYOUTS", "Layout", "detected", "named"]


class Layout(Protocol):
    """What a layout is: a module with three functions."""

    def recognises(self, path: Path) -> bool:
        """Whether the names in `path`, a file or a folder, are those of this layout."""

    def read(self, path: Path, activation: str | None = None) -> Weights:
        """Return the weights; `activation` is asked only where the files do not tell."""

    def write(self, weights: Weights, path: Path) -> None:
        """Write the weights, all files or none."""


LAYOUTS: Mapping[str, Layout] = {
    "sae_lens": sae_lens,
    "sparsify": sparsify,
    "dictionary_learning": dictionary_learning,
    "openai": openai,
    "saev": saev,
}
"""Format name to layout, in the order in which they are tried."""


def detected(path: Path) -> Layout:
    """Return the layout of an existing file or folder."""
    if not path.exists():
        raise FileNotFoundError(2, "no such file or folder", str(path))
    for layout in LAYOUTS.values():
        if layout.recognises(path):
            return layout
    raise ModelFileError(
        f"{path}: not recognised as any of {', '.join(LAYOUTS)}; if it is one, name it as format"
    )


def named(name: object) -> Layout:
    """Return the layout of that name."""
    if not isinstance(name, str) or name not in LAYOUTS:
        raise InputError(f"format must be one of {', '.join(map(repr, LAYOUTS))}, got {name!r}")
    return LAYOUTS[name]
