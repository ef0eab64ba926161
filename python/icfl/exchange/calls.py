"""Sparse autoencoders of other libraries, in and out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from icfl._validation import check_choice
from icfl.autoencoders.base import SparseAutoencoder
from icfl.exceptions import InputError, ModelFileError
from icfl.exchange.estimators import to_estimator, to_weights
from icfl.exchange.layouts import detected, named
from icfl.exchange.weights import Inputs

__all__ = ["load_external", "save_external"]

_INPUTS = ("raw", "normalised")
_ACTIVATIONS = ("topk", "abs_topk", "batch_topk", "jump_relu")


def load_external(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    activation: str | None = None,
    inputs: str = "raw",
) -> SparseAutoencoder:
    """Read a sparse autoencoder that another library wrote.

    The result encodes as that library does: the same codes but for rounding, of the same rows. A
    model that cannot be had faithfully (gated, a transcoder, with a skip connection, …) is refused.
    Nothing in a file is executed: torch files are read with ``weights_only=True``.

    Parameters
    ----------
    path : str or os.PathLike
        The folder with the files, or the file with the weights.
    format : {"auto", "sae_lens", "sparsify", "dictionary_learning", "openai", "saev"}
        Whose files they are; "auto" looks at their names and contents. InterPLM's are those of
        "dictionary_learning".
    activation : {"topk", "abs_topk", "batch_topk", "jump_relu"}, optional
        How p becomes a code. Where the files do not tell ("topk" or "batch_topk" of an `ae.pt`
        without its configuration) this decides; else it has to be what they say.
    inputs : {"raw", "normalised"}, default="raw"
        Whether rows will come as they are, or as the library normalises them before it encodes:
        layer norm (openai's TopK models), a whitening, a factor that the files do not have. Such
        models are refused with "raw"; the message says what is to be done to rows. Rows times
        √d / norm are no such case, estimators do that themselves.

    Returns
    -------
    TopKSAE, AbsTopKSAE, BatchTopKSAE, MatryoshkaSAE or JumpReLUSAE
        The fitted estimator, with an empty ``history_``. A ReLU model is a `BatchTopKSAE` whose
        threshold is zero, thresholds that are all equal make a `BatchTopKSAE` too. Atoms keep their
        norms. ``icfl.save`` keeps it, ``partial_fit`` learns on.

    Raises
    ------
    ModelFileError
        The files are damaged, contradict themselves, or hold a model that is not supported.
    InputError
        `format`, `activation` or `inputs` is not one of those above, or contradicts the files.
    MissingDependencyError
        A torch file is to be read without PyTorch.
    OSError
        A file cannot be opened or read.

    See Also
    --------
    save_external : The way back.
    load : Reads the package's own files.

    Notes
    -----
    Libraries that take the k largest p without a ReLU (saev) keep negative ones of a row that has
    fewer than k positive p; such codes are left out here.

    Examples
    --------
    >>> import tempfile, numpy as np, icfl
    >>> X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    >>> model = icfl.TopKSAE(16, n_nonzero=3, unit_norm_inputs=False, max_iter=1).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     icfl.save_external(model, folder, "sae_lens")
    ...     loaded = icfl.load_external(folder)
    >>> type(loaded).__name__, loaded.n_nonzero
    ('TopKSAE', 3)
    >>> np.allclose(loaded.transform(X).toarray(), model.transform(X).toarray(), atol=1e-5)
    True
    """
    check_choice(inputs, "inputs", _INPUTS)
    if activation is not None:
        check_choice(activation, "activation", _ACTIVATIONS)
    where = Path(path)
    layout = detected(where) if format == "auto" else named(format)
    try:
        weights = layout.read(where, activation)
    except InputError as error:  # numbers that are finite in the file, and products of them are not
        raise ModelFileError(f"{where}: {error}") from error
    if activation not in (None, weights.activation):
        raise InputError(f"activation is {activation!r}, but {where} holds {weights.activation!r}")
    if (weights.inputs == "normalised") != (inputs == "normalised"):
        if inputs == "raw":
            raise ModelFileError(
                f"{where}: its rows are normalised first, {weights.normalisation}, which an "
                "estimator does not do; do it yourself and pass inputs='normalised'"
            )
        raise InputError(f"inputs is 'normalised', but {where} has no normalisation left to do")
    try:
        return to_estimator(weights)
    except ModelFileError as error:
        raise ModelFileError(f"{where}: {error}") from error


def save_external(
    model: object, path: str | os.PathLike[str], format: str, *, inputs: str = "raw"
) -> None:
    """Write a fitted sparse autoencoder for another library.

    Of the same rows that library computes the same codes and reconstructions but for rounding: the
    input scale becomes part of the weights.

    Parameters
    ----------
    model : TopKSAE, AbsTopKSAE, BatchTopKSAE, MatryoshkaSAE or JumpReLUSAE
        What to write. One that scales its inputs to unit norm only "sae_lens" can say; it divides
        by the norm, so that rows of zeros become NaN there.
    path : str or os.PathLike
        A folder for "sae_lens", "sparsify" and "dictionary_learning", made if it does not exist; a
        file for "openai" and "saev". Files that exist are replaced, and stay whole if anything goes
        wrong.
    format : {"sae_lens", "sparsify", "dictionary_learning", "openai", "saev"}
        For whom. "sae_lens" takes all, "sparsify" `TopKSAE`, "saev" that and `BatchTopKSAE`,
        "dictionary_learning" also `MatryoshkaSAE` and `JumpReLUSAE`.
    inputs : {"raw", "normalised"}, default="raw"
        "normalised" says that the model was fitted on rows that were normalised as the library
        normalises them by itself; of these formats only "openai" does, for TopK.

    Raises
    ------
    InputError
        The layout has no place for something the model does; the message says for what.
    InputTypeError
        `model` is no sparse autoencoder.
    MissingDependencyError
        A torch file is to be written without PyTorch.
    OSError
        A file cannot be written. What was there before is still there.

    See Also
    --------
    load_external : The way back.
    save : Keeps any estimator, with everything it has.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, icfl
    >>> X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    >>> model = icfl.TopKSAE(16, n_nonzero=3, unit_norm_inputs=False, max_iter=1).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     icfl.save_external(model, folder, "sparsify")
    ...     sorted(file.name for file in pathlib.Path(folder).iterdir())
    ['cfg.json', 'sae.safetensors']
    """
    check_choice(inputs, "inputs", _INPUTS)
    layout = named(format)
    layout.write(to_weights(model, cast("Inputs", inputs)), Path(path))
