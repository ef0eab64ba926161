"""Checkpoints: what a fit needs to go on, to the very bits, after it was killed.

A checkpoint is an icfl file (`icfl.model_file`: safetensors, written beside and renamed, never
pickled) with dictionary, bias, the update's arrays, counters, usage and history. It also names the
parameters and the data it belongs to, so that it is not continued with others by mistake.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from icfl import model_file
from icfl.exceptions import InputError, ModelFileError
from icfl.learning.history import Run

__all__ = ["Checkpoint", "fingerprint"]

_KIND = "icfl checkpoint"
_UPDATE = "update/"

Arrays = dict[str, NDArray[Any]]
State = tuple[Run, Arrays, Arrays]


class Checkpoint:
    """The checkpoint of one fit.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file; its folder has to exist.
    interval : float
        Seconds between two writes.
    identity : dict
        What the fit must have in common with one that continues it: JSON values by name.
    """

    def __init__(
        self, path: str | os.PathLike[str], interval: float, identity: dict[str, Any]
    ) -> None:
        self.path = Path(path)
        if not self.path.absolute().parent.is_dir():
            raise InputError(f"checkpoint: there is no folder {self.path.absolute().parent}")
        self.interval = interval
        self.identity = identity
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the interval has passed since the last write."""
        return time.monotonic() - self._written >= self.interval

    def write(self, run: Run, dictionary: Arrays, update: Arrays) -> None:
        """Replace the file.

        Parameters
        ----------
        run : Run
            Counters, usage and history.
        dictionary : dict of str to ndarray
            "components" and "bias".
        update : dict of str to ndarray
            The update's own arrays.
        """
        numbers, own = run.get_state()
        metadata = {"kind": _KIND, "identity": self.identity, "run": numbers}
        named = {_UPDATE + name: array for name, array in update.items()}
        model_file.write(self.path, {**dictionary, **own, **named}, metadata)
        self._written = time.monotonic()

    def read(self) -> State | None:
        """Return what is on file: run, dictionary, and the update's arrays. None: no file.

        Raises
        ------
        InputError
            If the checkpoint belongs to other parameters or other data.
        ModelFileError
            If the file is damaged or no checkpoint.
        """
        try:
            tensors, metadata = model_file.read(self.path)
        except FileNotFoundError:
            return None
        if metadata.get("kind") != _KIND:
            raise ModelFileError(f"{self.path}: an icfl file, but not a checkpoint")
        self._compare(metadata["identity"])
        update = {
            name.removeprefix(_UPDATE): array
            for name, array in tensors.items()
            if name.startswith(_UPDATE)
        }
        return Run.from_state(metadata["run"], tensors), tensors, update

    def _compare(self, found: dict[str, Any]) -> None:
        other = [
            f"{name} (there {found.get(name)!r}, here {self.identity.get(name)!r})"
            for name in sorted(found.keys() | self.identity.keys())
            if found.get(name) != self.identity.get(name)
        ]
        if other:
            raise InputError(
                f"checkpoint {self.path} belongs to a fit with other {', '.join(other)}; "
                "fit with resume=False to start anew"
            )


def fingerprint(rows: NDArray[np.float32], n_rows: int) -> dict[str, Any]:
    """Return the shape of the data and a digest of some of its prepared rows."""
    digest = hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=16)
    return {"data shape": [n_rows, rows.shape[1]], "data": digest.hexdigest()}
