"""The choice of PyTorch as a value: where, in which precision, with which processes.

This module is there without PyTorch, so that the value can be made, compared and printed; what
computes is imported when a learner asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import ArrayLike

from icfl._validation import check_choice, check_count, check_flag
from icfl.coding.coders import Coder, Pursuit
from icfl.exceptions import InputError, InputTypeError, MissingDependencyError
from icfl.learning.backends import Backend
from icfl.learning.minibatches import TrainingRows
from icfl.learning.stepper import Arrays, Stepper
from icfl.learning.threshold import RunningThreshold
from icfl.updates import Update

if TYPE_CHECKING:
    import torch

    from icfl.learning.learner import Learner
    from icfl.torch.distributed import Group

__all__ = ["GRAM_BUDGET", "TorchBackend"]

GRAM_BUDGET = 4 << 30
"""Largest Gram matrix in bytes, 32,768 atoms in float32."""


@dataclass(frozen=True)
class TorchBackend(Backend):
    """PyTorch as backend of a learner, with its options.

    Parameters
    ----------
    device : str, optional
        "cpu", "cuda", "cuda:1", "mps", ... None is the device of the rows where they are tensors,
        else the CPU.
    precision : {"float32", "bfloat16"}, default="float32"
        Of the products with encoder and decoder while an autoencoder is trained, under
        ``torch.autocast``. Parameters, Adam's moments, the choice of latents and all sums are
        float32 either way; so are pursuit, whose rounds build on each other, and encoding.
    compile : bool, default=False
        Compile the loss of autoencoders with ``torch.compile``, which fuses what lies between the
        products. The first steps then take seconds to minutes.
    gram_budget : int, default=4 GiB
        Bytes that the Gram matrix of pursuit may take. Above it every round is a product of
        residuals with the dictionary.
    process_group : torch.distributed.ProcessGroup, optional
        Processes that learn together, each from rows of its own. None is the default group where
        ``torch.distributed`` is initialised.

    Raises
    ------
    InputError
        If an option is not one of those values.

    Notes
    -----
    Processes that learn together behave as one that takes their mini-batches as one: same
    dictionary to float32 rounding, and all hold the same. They need equally many rows each, and
    ``tol=None``. A checkpoint belongs to one process: give each a name of its own.

    Products of float32 matrices follow ``torch.set_float32_matmul_precision``. Its default keeps
    the promise that codes are those of float32; TF32 does not. On CUDA the gradients of
    `icfl.MatchingPursuitSAE` add up in any order, unless ``torch.use_deterministic_algorithms`` is
    set: its last bits are then not those of another run.

    Examples
    --------
    >>> import icfl
    >>> backend = icfl.torch.TorchBackend("cuda", precision="bfloat16")
    >>> model = icfl.ICFL(512, backend=backend)
    """

    device: str | None = None
    precision: str = "float32"
    compile: bool = False
    gram_budget: int = GRAM_BUDGET
    process_group: Any = None

    name: ClassVar[str] = "torch"

    def __post_init__(self) -> None:
        if self.device is not None and not isinstance(self.device, str):
            raise InputTypeError(f"device must be None or a string, got {self.device!r}")
        check_choice(self.precision, "precision", ("float32", "bfloat16"))
        check_flag(self.compile, "compile")
        check_count(self.gram_budget, "gram_budget", minimum=0)

    def __deepcopy__(self, memo: object) -> TorchBackend:
        """Return this very value: it does not change, and a process group cannot be copied."""
        return self

    def check(self) -> None:
        """Raise the error that says why this machine cannot do the work, if it cannot."""
        try:
            import torch
        except ImportError as error:
            raise MissingDependencyError(
                "backend='torch' needs PyTorch: pip install 'icfl[torch]'"
            ) from error
        if self.device is None:
            return
        try:
            wanted = torch.device(self.device)
        except RuntimeError as error:
            raise InputError(
                f"device must be one that PyTorch knows, such as 'cpu', 'cuda' or 'cuda:1', "
                f"got {self.device!r}"
            ) from error
        module = getattr(torch, wanted.type, None)
        if module is None:
            self._probe(wanted)
        if wanted.type == "cpu" or module is None:
            return
        # Older versions have no torch.mps.is_available.
        available = torch.backends.mps if wanted.type == "mps" else module
        if not available.is_available():
            raise InputError(
                f"device must be available, got {self.device!r}: "
                f"PyTorch {torch.__version__} finds no {wanted.type} device"
            )
        if wanted.index is not None and wanted.index >= module.device_count():
            raise InputError(
                f"device must be one of {module.device_count()} {wanted.type} devices, "
                f"counted from 0, got {self.device!r}"
            )

    def _probe(self, device: torch.device) -> None:
        """Raise unless numbers come back from a device of which PyTorch cannot be asked."""
        import torch

        try:
            torch.zeros(1, device=device).cpu()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"device must be one that computes here, got {self.device!r}: {reason}"
            ) from error

    def on(self, device: str) -> TorchBackend:
        """Return the same backend on that device.

        Parameters
        ----------
        device : str
            The device.

        Returns
        -------
        TorchBackend
            A new value.
        """
        return replace(self, device=device)

    @property
    def group(self) -> Group:
        """The processes that learn together."""
        from icfl.torch.distributed import Group

        return Group.of(self.process_group)

    def training_rows(self, model: Learner, X: ArrayLike, *, reset: bool) -> TrainingRows:
        """Return the rows of a fit; the learners call this.

        Parameters
        ----------
        model : Learner
            Whose ``n_features_in_`` is set (`reset`) or compared.
        X : Tensor or array-like of shape (n_samples, n_features)
            Data of this process.
        reset : bool
            True in ``fit`` and the first ``partial_fit``.

        Returns
        -------
        TrainingRows
            Rows on the device of a tensor, or in main memory.
        """
        from icfl.torch.rows import training_rows

        if self.group.size > 1 and model.tol is not None:
            raise InputError(f"tol must be None with several processes, got {model.tol!r}")
        return training_rows(model, X, self.group, reset=reset)

    def autoencoder(self, recipe: Any, fitted: Arrays, coder: Callable[[Arrays], Coder]) -> Stepper:
        """Return what trains an autoencoder; the learners call this.

        Parameters
        ----------
        recipe : Recipe
            How it is trained.
        fitted : dict of str to ndarray
            Where it starts.
        coder : callable
            Gives the coder that goes with fitted arrays.

        Returns
        -------
        Stepper
            Before its first step.
        """
        from icfl.torch.autoencoder import TorchAutoencoderStepper

        return TorchAutoencoderStepper(recipe, fitted, coder, self)

    def pursuit(
        self,
        coder: Pursuit,
        update: Update,
        fitted: Arrays,
        *,
        unit_norm: bool,
        coherence_limit: float | None,
        threshold: RunningThreshold | None = None,
    ) -> Stepper:
        """Return what learns by turns of pursuit and update; the learners call this.

        Parameters
        ----------
        coder : BlockPursuit or OrthogonalPursuit
            How rows are encoded.
        update : Adam or Online
            How the dictionary follows.
        fitted : dict of str to ndarray
            Where it starts.
        unit_norm : bool
            Whether atoms are kept at unit norm.
        coherence_limit : float or None
            Cosine above which atoms count as saying the same; None never replaces any.
        threshold : RunningThreshold, optional
            Those of the atoms, in the place of the coder's.

        Returns
        -------
        Stepper
            Before its first step.
        """
        from icfl.torch.icfl import TorchPursuitStepper

        return TorchPursuitStepper(
            coder,
            update,
            fitted,
            self,
            unit_norm=unit_norm,
            coherence_limit=coherence_limit,
            threshold=threshold,
        )

    def fitted(self, model: Learner) -> Any:
        """Return a fitted learner's methods on this backend; the learners call this."""
        from icfl.torch.model import DeviceModel

        return DeviceModel(model, self)
