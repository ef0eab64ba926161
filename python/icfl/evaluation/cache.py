"""What was measured, kept in a folder so that a stopped comparison goes on where it was.

One JSON file a fit, whole under its name or not there, and beside it the dictionary. The name is a
digest of everything the numbers depend on: data, labels, groups, controls, whitener, learner with
all its parameters, held-out groups, seed, version. Whatever has changed is measured anew; nothing
is ever read that was measured of something else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import icfl
from icfl._files import replace_files
from icfl.evaluation.plan import Cell, Data
from icfl.exceptions import InputError

__all__ = ["Cache", "digest_of_data"]

FORMAT = 2
"""Rises with what is measured of a fit."""
CHUNK = 1 << 16
"""Rows whose bytes are hashed at a time."""
WITHOUT_EFFECT = ("n_jobs", "verbose", "checkpoint", "checkpoint_interval")
"""Parameters that change no number."""


def digest_of_data(data: Data) -> str:
    """Return a digest of rows, labels, groups and controls."""
    found = hashlib.sha256(f"{data.X.dtype} {data.X.shape}".encode())
    for first in range(0, len(data.X), CHUNK):
        found.update(np.ascontiguousarray(data.X[first : first + CHUNK]).tobytes())
    for name in data.labels:
        found.update(f"{name} {data.names[name].tolist()!r}".encode())
        found.update(data.labels[name].astype("<i8").tobytes())
    found.update(repr(data.groups.tolist()).encode())
    found.update(b"" if data.control is None else np.packbits(data.control).tobytes())
    return found.hexdigest()


class Cache:
    """A folder of measured fits; without a folder it remembers nothing.

    Parameters
    ----------
    folder : str, os.PathLike or None
        Made if it does not exist; the folder it lies in has to.
    data : str
        Digest of the data.

    Raises
    ------
    InputError
        If `folder` is a file.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, data: str) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"cache must be a folder, {self.folder} is a file")
        self._data = data

    def name(self, cell: Cell, learner: Any, whitener: Any) -> str:
        """Return the name under which a fit is kept."""
        parts = [
            FORMAT,
            icfl.__version__,
            self._data,
            cell.learner,
            _described(learner),
            cell.whitening,
            _described(whitener) if cell.whitening == "control" else None,
            hashlib.sha256(np.packbits(cell.fold.test).tobytes()).hexdigest(),
            cell.seed,
            *([] if cell.measured else ["half"]),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def read(self, name: str) -> tuple[dict[str, Any], NDArray[np.float32] | None] | None:
        """Return what is kept under a name, None if there is nothing that can be read."""
        if self.folder is None:
            return None
        try:
            results = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
            atoms = self.folder / f"{name}.npy"
            dictionary = np.load(atoms, allow_pickle=False) if atoms.exists() else None
        except (OSError, ValueError):
            return None
        return results, dictionary

    def write(
        self, name: str, results: dict[str, Any], dictionary: NDArray[np.float32] | None
    ) -> None:
        """Keep what was measured."""
        if self.folder is None:
            return
        files = {f"{name}.json": [json.dumps(results, indent=1).encode()]}
        if dictionary is not None:
            buffer = io.BytesIO()
            np.save(buffer, dictionary, allow_pickle=False)
            # First, so that a result never waits for its dictionary.
            files = {f"{name}.npy": [buffer.getvalue()], **files}
        replace_files(self.folder, files)


def _described(estimator: Any) -> Any:
    """Return class and parameters as something JSON can hold."""
    parameters = estimator.get_params(deep=False)
    return [
        f"{type(estimator).__module__}.{type(estimator).__qualname__}",
        {
            key: _plain(value)
            for key, value in sorted(parameters.items())
            if key not in WITHOUT_EFFECT
        },
    ]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return [str(value.dtype), list(value.shape), content]
    return repr(value)
