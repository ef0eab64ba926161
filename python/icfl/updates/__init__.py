"""Dictionary updates: how the dictionary follows from mini-batches and their codes.

An update is a small immutable value with its options; `start` turns it into a state that holds the
moving dictionary. Encoding and updating know nothing of one another, so any update goes with any
coder. Adding one is a file with the face of `Update`, and a row in `UPDATES`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from icfl.exceptions import InputError
from icfl.updates._protocols import ReconstructionSums, Update, UpdateState
from icfl.updates.adam import Adam
from icfl.updates.online import Online

__all__ = [
    "UPDATES",
    "Adam",
    "Online",
    "ReconstructionSums",
    "Update",
    "UpdateState",
    "start",
    "value_of",
]

UPDATES: dict[str, type[Adam] | type[Online]] = {"adam": Adam, "online": Online}
"""Updates by the name under which learners take them."""


def start(
    update: str | Update,
    components: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    learning_rate: float | None = None,
    atom_norm: str = "unit",
    coherence_limit: float | None = 0.9,
) -> UpdateState:
    """Begin to move a dictionary.

    Parameters
    ----------
    update : {"adam", "online"} or Update
        A name stands for the value with its defaults.
    components : ndarray of shape (n_components, n_features), float32
        Atoms to start from.
    bias : ndarray of shape (n_features,), float32
        Bias to start from.
    learning_rate : float, optional
        Step size of an update given by name, where it has one.
    atom_norm : {"unit", "free"}
        Whether atoms are kept at unit norm.
    coherence_limit : float, optional
        Cosine above which atoms count as saying the same; None never replaces any.

    Returns
    -------
    UpdateState
        The dictionary, and what moves it.

    Raises
    ------
    InputError
        If `update` is unknown, or `learning_rate` is given to an update without one.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> atoms = np.eye(3, dtype=np.float32)
    >>> state = icfl.updates.start("online", atoms, np.zeros(3, np.float32))
    >>> state.components.shape
    (3, 3)
    """
    return value_of(update, learning_rate).start(
        components, bias, unit_norm=atom_norm == "unit", coherence_limit=coherence_limit
    )


def value_of(update: str | Update, learning_rate: float | None = None) -> Update:
    """Return the value that a name stands for, or the value itself.

    Parameters
    ----------
    update : {"adam", "online"} or Update
        A name stands for the value with its defaults.
    learning_rate : float, optional
        Step size of an update given by name, where it has one.

    Returns
    -------
    Update
        The value.

    Raises
    ------
    InputError
        As `start`.

    Examples
    --------
    >>> import icfl
    >>> icfl.updates.value_of("adam", 0.01)
    Adam(learning_rate=0.01)
    """
    if isinstance(update, str):
        return _named(update, learning_rate)
    if learning_rate is not None:
        raise InputError(
            "learning_rate must be None when update is a value, which holds its own; "
            f"got {learning_rate!r}"
        )
    return update


def _named(name: str, learning_rate: float | None) -> Update:
    if name not in UPDATES:
        raise InputError(
            f"update must be one of {', '.join(map(repr, UPDATES))} or an update value, "
            f"got {name!r}"
        )
    if learning_rate is None:
        return UPDATES[name]()
    if name != "adam":
        raise InputError(
            f"learning_rate must be None for update={name!r}, which has no step size; "
            f"got {learning_rate!r}"
        )
    return Adam(learning_rate=learning_rate)
