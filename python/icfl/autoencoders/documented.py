"""What the autoencoders' docstrings have in common, said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["PYTORCH", "documented"]

FIRST = """n_components : int or "auto", default="auto"
        Latents, and atoms of the dictionary; "auto" takes 8 per feature, or as many as `init` has
        rows.
    n_nonzero : int, default=32
        Non-zeros of a row's code{each}."""

AUXILIARY = """aux_coefficient : float, default={weight}
        Weight of the auxiliary loss, in which dead latents model what the others leave; 0 leaves
        it out. {part} take part for each row."""

REST = """learning_rate : float, optional
        Largest step size of Adam; None takes 2e-4 / sqrt(n_components / 2**14). It rises from zero
        over the first steps of a ``fit`` and falls to zero over the last fifth.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded. Otherwise all rows are multiplied by one
        number, `input_scale_`, that makes their mean norm one.
    batch_size : int or "auto", default="auto"
        Most rows of a mini-batch; "auto" takes 1,024, or of little data a twentieth, but no fewer
        than 64. A pass of ``fit`` deals all rows into mini-batches of nearly
        equal size, so none is left over.
    max_iter : int or None, default=20
        Most passes over the data; None for no limit but `max_steps`.
    max_steps : int or None, default=None
        Most mini-batches; None for no limit but `max_iter`.
    init : {"auto", "random", "linear", "data"} or array of shape (n_components, n_features)
        First decoder, whose rows are scaled to unit norm: directions from the unit sphere
        ("random", which "auto" means), PyTorch's default for a linear layer ("linear", with a
        random bias), or normalised rows of the data ("data"). The encoder starts as that array
        times the number with which first codes reproduce rows best.
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Source of all randomness. An int gives the same bits every time.
    n_jobs : int, optional
        Threads; None takes all cores. Results have the same bits for any number.
    backend : {backends}, default="auto"
        Where a fit runs{which}.
    device : str, optional
        Device of the backend "torch", such as "cuda" or "cuda:1"; None is that of the rows where
        they are tensors, else the CPU.
    verbose : int, default=0
        Above 0, every entry of the history is logged at level INFO to the logger "icfl".
    tol : float, optional
        End when the explained variance of held-back rows has not risen by more than this in five
        entries of the history. None holds nothing back.
    validation_fraction : float, default=0.1
        Share of the rows held back if `tol` is given, at most 8,192 rows.
    checkpoint : path-like, optional
        File from which a killed ``fit`` can go on; written at the end, after Ctrl-C and every
        `checkpoint_interval` seconds.
    checkpoint_interval : float, default=60.0
        Seconds between two writes of the checkpoint."""

DECODER = """components_ : ndarray of shape (n_components, n_features), float32
        The dictionary: rows of the decoder, of unit norm. Read-only: assign another array to change
        it.
    bias_ : ndarray of shape (n_features,), float32
        Subtracted from prepared rows before they are encoded, and added to what codes stand for.
        It starts as the mean of all rows."""

ENCODER = """encoder_ : ndarray of shape (n_components, n_features), float32
        Rows of the encoder: pre-activations are ``(x - bias_) @ encoder_.T + encoder_bias_``.
    encoder_bias_ : ndarray of shape (n_components,), float32
        Its bias."""

COUNTS = """input_scale_ : float
        What rows are multiplied by, after `unit_norm_inputs`, when they are prepared.
    input_norm_ : float
        Mean norm of the rows before they were prepared. ``transform`` warns of data whose mean norm
        differs more than four-fold.
    n_features_in_ : int
        Width of the data.
    n_steps_, n_iter_, n_samples_seen_ : int
        Finished mini-batches, passes begun by the last ``fit``, and rows seen in all mini-batches.
    history_ : list of dict
        As `ICFL.history_`."""

PYTORCH = {
    "backends": '{"auto", "torch"} or icfl.torch.TorchBackend',
    "which": ": in PyTorch, both ways",
}
"""What is said of `backend` where only PyTorch trains."""

Class = TypeVar("Class", bound=type)


def documented(
    *,
    each: str = "",
    backends: str = '{"auto", "rust", "torch"} or icfl.torch.TorchBackend',
    which: str = ': "auto" takes the compiled code on the CPU unless a `device` is asked for',
    weight: str = "1/32",
    part: str = "Half as many latents as there are features",
) -> Callable[[Class], Class]:
    """Return a decorator that puts the shared texts in a class's docstring.

    Parameters
    ----------
    each : str
        What is said of `n_nonzero` beside what holds for all.
    backends, which : str
        Values of the parameter `backend`, and what they mean.
    weight, part : str
        Default of `aux_coefficient`, and how many dead latents its loss is for.
    """
    texts = {
        "first": FIRST.replace("{each}", each),
        "auxiliary": AUXILIARY.replace("{weight}", weight).replace("{part}", part),
        "rest": REST.replace("{backends}", backends).replace("{which}", which),
        "decoder": DECODER,
        "encoder": ENCODER,
        "counts": COUNTS,
    }

    def fill(cls: Class) -> Class:
        for name, text in texts.items():
            cls.__doc__ = (cls.__doc__ or "").replace(f"<{name}>", text)
        return cls

    return fill
