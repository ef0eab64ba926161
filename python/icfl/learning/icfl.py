"""ICFL: dictionary learning by iterative codebook feature learning.

Rows x (d numbers) are written as x ≈ z D + b with sparse codes z from block pursuit
(`icfl.encode_icfl`) and a dictionary D (M, d) that follows the codes, mini-batch by mini-batch
(`icfl.updates`). Method: Donhauser et al., "Towards scientific discovery with dictionary learning:
Extracting biological concepts from microscopy foundation models", ICML 2025, arXiv:2412.16247.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from icfl import _core, updates
from icfl._validation import check_choice, check_n_jobs, check_number, check_vector
from icfl.coding.coders import (
    BlockPursuit,
    OrthogonalPursuit,
    OwnThresholds,
    Pursuit,
    cached_dictionary,
    compiled,
)
from icfl.exceptions import InputError
from icfl.learning.backends import Backend, backend_of
from icfl.learning.initialisation import initial_dictionary
from icfl.learning.learner import Learner
from icfl.learning.minibatches import Survey, TrainingRows
from icfl.learning.parameters import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_INIT,
    DEFAULT_MAX_ITER,
    DEFAULT_REFIT,
    DEFAULT_UPDATE,
    PAPER,
    mini_batch,
    size,
)
from icfl.learning.pursuit import PursuitStepper
from icfl.learning.stepper import Arrays, Stepper
from icfl.learning.threshold import RunningThreshold

__all__ = ["ICFL"]


class ICFL(Learner):
    r"""Sparse dictionary learning by iterative codebook feature learning.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Atoms of the dictionary; "auto" takes 8 per feature, or as many as `init` has rows.
    n_iterations : int, default=20
        Rounds of the encoder.
    atoms_per_iteration : int, default=5
        Atoms that join in a round.
    refit : {"joint", "block"}, default="joint"
        "joint": atoms join one at a time, ``n_iterations * atoms_per_iteration`` at most, and after
        each of them the coefficients of all are fitted again (orthogonal matching pursuit,
        `icfl.encode_omp`). "block": as published, `atoms_per_iteration` at a time, of which only
        the newest are fitted (`icfl.encode_icfl`), at about half the cost.
    threshold : float or "auto", default=0.0
        An atom joins only while its inner product with the residual exceeds it, so easy rows end
        with fewer non-zeros. ``-inf`` is the published algorithm. "auto" gives every atom one of
        its own, which follows the size of the codes, the noise below them and how often the atom
        fires while learning, and with ``refit="joint"`` is higher for rows of which more is left;
        the last ones are `threshold_` and `threshold_slope_`. It is for data that are sums of few
        features, whose number varies from row to row; see the Notes.
    selection : {"positive", "absolute"}, default="positive"
        Rank atoms by signed inner product, as published, or by its absolute value.
    update : {"online", "adam"} or an update of `icfl.updates`, default="online"
        How the dictionary follows the codes; the Notes say what was measured.
    learning_rate : float, optional
        Step size of ``update="adam"``; None takes its default.
    atom_norm : {"unit", "free"}, default="unit"
        Whether atoms are kept at unit norm.
    coherence_limit : float or None, default=0.9
        Cosine above which one of two atoms is replaced; None replaces none.
    unit_norm_inputs : bool, default=True
        Scale every row to unit norm before it is encoded.
    batch_size : int, default=1024
        Most rows of a mini-batch. A pass of ``fit`` deals all rows into mini-batches of nearly
        equal size, so none is left over.
    max_iter : int or None, default=20
        Most passes over the data; None for no limit but `max_steps`.
    max_steps : int or None, default=None
        Most mini-batches; None for no limit but `max_iter`.
    init : {"auto", "random", "linear", "data"} or array of shape (n_components, n_features)
        First dictionary: directions from the unit sphere ("random"), PyTorch's default for a
        linear layer ("linear"), or normalised rows of the data ("data", which "auto" means).
    sparse_output : bool, default=True
        Give codes as a CSR array; False gives dense arrays, which ``set_output`` needs.
    random_state : int, RandomState instance or None, default=None
        Source of all randomness. An int gives the same bits every time.
    n_jobs : int, optional
        Threads; None takes all cores. Results have the same bits for any number.
    backend : {"auto", "rust", "torch"} or TorchBackend, default="auto"
        Where the work is done: in the compiled code on the CPU ("rust"), or by PyTorch, whose
        options `icfl.torch.TorchBackend` holds. "auto" is "torch" where `device` names another
        device than the CPU, else "rust". With PyTorch, tensors give tensors.
    device : str, optional
        Device of PyTorch, such as "cuda" or "cuda:1"; None is that of the rows where they are
        tensors, else the CPU.
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
        Seconds between two writes of the checkpoint.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        The dictionary, one atom a row. Read-only: assign another array to change it.
    bias_ : ndarray of shape (n_features,), float32
        Subtracted from prepared rows before they are encoded.
    threshold_ : ndarray of shape (n_components,), float32
        Threshold of each atom under ``threshold="auto"``, and only then; what `icfl.encode_omp` and
        `icfl.encode_icfl` take as `threshold`.
    threshold_slope_ : ndarray of shape (), float32
        By how much thresholds rise with what is left of a row, where ``refit="joint"`` as well;
        what `icfl.encode_omp` takes as `threshold_slope`.
    n_features_in_ : int
        Width of the data.
    n_steps_, n_iter_, n_samples_seen_ : int
        Finished mini-batches, passes begun by the last ``fit``, and rows seen in all mini-batches.
    input_norm_ : float
        Mean norm of the rows before they were scaled. ``transform`` warns of data whose mean norm
        differs more than four-fold.
    history_ : list of dict
        One entry at the end of each pass, every 50 mini-batches or so within long ones, and at the
        end of each ``partial_fit``: ``step``, ``epoch``, ``n_samples_seen``; over the mini-batches
        since the last entry, each measured before its update and with the iterations that the
        update learns with at that time, ``explained_variance``, ``cosine`` (mean over rows),
        ``l0`` (mean non-zeros of a row) and ``replaced`` (atoms replaced);
        ``dead``, the share of atoms without an activation in the last pass (``partial_fit``: the
        last 1,000 mini-batches), or in all that was seen while that is less; ``seconds`` since the
        start; and ``validation_explained_variance`` where rows are held back.

    See Also
    --------
    SparseCoder : Encodes with a given dictionary.
    ControlWhitener : The preprocessing that comes first.

    Notes
    -----
    How it learns was chosen by what it finds, on planted hierarchies and real data: codes that are
    refitted jointly, atoms that come one by one and are taken apart (`icfl.updates.Online`) against
    the published encoder and start, in ``docs/science.md``. ``ICFL.paper()`` is the published
    method; ``refit="block", update=Online(first_atoms=None, disentangle=0)`` is its codes and start
    with the update below.

    The update itself was chosen at equal wall time on two cores, with the published encoder: 400
    steps of "online" against as many of "adam" as fit in that time, at the best of three learning
    rates (``python benches/compare_updates.py``; mean ± standard deviation).

    ==============================  =========  =============  =============
    data, and what is measured      non-zeros  online         adam
    ==============================  =========  =============  =============
    planted [2]_, matched cosine    10 x 1     0.993 ± 0.001  0.889 ± 0.026
    planted, strict Zipf law        10 x 1     0.975 ± 0.004  0.575 ± 0.011
    wells [3]_, held-out variance   5 x 2      0.881 ± 0.008  0.881 ± 0.011
    wells, held-out variance        5 x 5      0.934 ± 0.005  0.946 ± 0.006
    ==============================  =========  =============  =============

    So "online" finds true features where "adam" does not yet, and has no learning rate to choose;
    for dense codes of few dimensions "adam" reconstructs a little better.

    ``threshold="auto"`` asks whether an atom is the likelier explanation of what the others leave.
    Its threshold is t + slope ‖residual‖². In it t is a share of τ = Σ z² / Σ \|z\|, the size of
    codes over the last 100 mini-batches or so, and slope = (1 + mean of log 1/f) / (d τ), with f
    the share of the rows that an atom is active on. The share of τ starts at 0.42, and with
    ``selection="positive"`` it is led, between 0.32 and 0.5, to where two fifths of the inner
    products just below the threshold are noise, told by how many there are of the opposite sign.
    What is frequent needs less evidence: that of atom m is multiplied by
    min(1, √((1 + log 1/f_m) / (1 + mean of log 1/f))). As codes then end where features do, who
    fires with whom tells of parents and children, and those that only the atoms of others hold get
    atoms of their own (``release`` of `icfl.updates.Online`). It is for rows that are sums of
    few features of comparable size; on data that are not, such as profiles of wells, it leaves very
    few non-zeros.

    .. [2] `icfl.datasets.make_planted`: d = 128, 512 features, 3 seeds.
    .. [3] `icfl.datasets.load_cell_lines`, whitened, 512 atoms: each of 6 plates held out.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning: Extracting
       biological concepts from microscopy foundation models", ICML 2025, arXiv:2412.16247.

    Examples
    --------
    >>> import numpy as np
    >>> import icfl
    >>> X = np.random.default_rng(0).standard_normal((500, 16))
    >>> model = icfl.ICFL(32, n_iterations=4, atoms_per_iteration=1, max_iter=2, random_state=0)
    >>> Z = model.fit_transform(X)
    >>> Z.shape, int(np.diff(Z.indptr).max()) <= 4
    ((500, 32), True)
    """

    _backends = ("rust", "torch")

    def __init__(
        self,
        n_components: int | str = "auto",
        *,
        n_iterations: int = 20,
        atoms_per_iteration: int = 5,
        refit: str = DEFAULT_REFIT,
        threshold: float | str = 0.0,
        selection: str = "positive",
        update: Any = DEFAULT_UPDATE,
        learning_rate: float | None = None,
        atom_norm: str = "unit",
        coherence_limit: float | None = 0.9,
        unit_norm_inputs: bool = True,
        batch_size: int = DEFAULT_BATCH_SIZE,
        max_iter: int | None = DEFAULT_MAX_ITER,
        max_steps: int | None = None,
        init: str | ArrayLike = DEFAULT_INIT,
        sparse_output: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        backend: str | Backend = "auto",
        device: str | None = None,
        verbose: int = 0,
        tol: float | None = None,
        validation_fraction: float = 0.1,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 60.0,
    ) -> None:
        self.n_components = n_components
        self.n_iterations = n_iterations
        self.atoms_per_iteration = atoms_per_iteration
        self.refit = refit
        self.threshold = threshold
        self.selection = selection
        self.update = update
        self.learning_rate = learning_rate
        self.atom_norm = atom_norm
        self.coherence_limit = coherence_limit
        self.unit_norm_inputs = unit_norm_inputs
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_steps = max_steps
        self.init = init
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.backend = backend
        self.device = device
        self.verbose = verbose
        self.tol = tol
        self.validation_fraction = validation_fraction
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval

    @classmethod
    def paper(cls, **overrides: Any) -> ICFL:
        """Return an estimator with the published settings.

        8,192 atoms, 20 rounds of 5, no threshold, Adam with learning rate 5e-5 on mini-batches of
        8,192 for 300,000 steps, PyTorch's default initialisation. The paper does not say whether
        atoms keep unit norm; here they do (``atom_norm="free"`` for the other reading).

        Parameters
        ----------
        **overrides
            Parameters to set differently.

        Returns
        -------
        ICFL
            The estimator, not fitted.

        Examples
        --------
        >>> import icfl
        >>> icfl.ICFL.paper(max_steps=1000).update
        'adam'
        """
        return cls(**{**PAPER, **overrides})

    def _coder(self) -> Pursuit | OwnThresholds:
        if not (self._follows and hasattr(self, "threshold_")):
            return self._pursuit()
        own = check_vector(self.threshold_, "threshold_", len(self.components_))
        pursuit = self._pursuit()
        if isinstance(pursuit, OrthogonalPursuit):
            # None where codes were not refitted when it was learnt.
            slope = float(getattr(self, "threshold_slope_", 0.0))
            pursuit = replace(pursuit, threshold_slope=slope)
        return OwnThresholds.of(pursuit, cast(NDArray[np.float32], own))

    def _compiled(self, atoms: NDArray[np.float32]) -> _core.Dictionary:
        coder = self._coder()
        own = self.threshold_ if isinstance(coder, OwnThresholds) else None
        return cached_dictionary(self, atoms, own, lambda *_: compiled(coder, atoms))

    def _pursuit(self) -> Pursuit:
        """Return how rows are encoded, but for thresholds that were learnt."""
        given: Any = self.threshold
        threshold = 0.0 if self._follows else check_number(given, "threshold")
        block = BlockPursuit(self.n_iterations, self.atoms_per_iteration, threshold, self.selection)
        if check_choice(self.refit, "refit", ("joint", "block")) == "block":
            return block
        n_nonzero = block.n_iterations * block.atoms_per_iteration
        return OrthogonalPursuit(n_nonzero, threshold, self.selection)

    @property
    def _follows(self) -> bool:
        """Whether thresholds follow the codes."""
        return isinstance(self.threshold, str) and self.threshold == "auto"

    def _shapes(self, n_components: int, n_features: int) -> dict[str, tuple[int, ...]]:
        own: dict[str, tuple[int, ...]] = {"threshold": (n_components,)} if self._follows else {}
        slope = {"threshold_slope": ()} if self._follows and self.refit == "joint" else {}
        return super()._shapes(n_components, n_features) | own | slope

    def _check_own(self) -> None:
        self._pursuit()
        if self.refit == "joint" and not self._follows and float(self.threshold) < 0:
            raise InputError(
                f"threshold must not be negative with refit='joint', got {self.threshold!r}"
            )
        check_choice(self.atom_norm, "atom_norm", ("unit", "free"))
        if self.coherence_limit is not None:
            check_number(self.coherence_limit, "coherence_limit", low=0.0, high=1.0)
        if self.learning_rate is not None:
            check_number(self.learning_rate, "learning_rate", low=0.0, closed=False)

    def _first_arrays(self, survey: Survey, rows: TrainingRows, rng: np.random.Generator) -> Arrays:
        components, bias = initial_dictionary(
            self.init,
            size(self, len(survey.mean)),
            survey.mean,
            rows.n_within_reach,
            rows.take,
            unit_norm=self.atom_norm == "unit",
            rng=rng,
        )
        first = {"components": components, "bias": bias}
        if self._follows:
            first["threshold"] = np.zeros(len(components), dtype=np.float32)
        return first

    def _start(self, fitted: Arrays) -> Stepper:
        value = updates.value_of(self.update, self.learning_rate)
        if isinstance(value, updates.Online):
            given = not isinstance(self.init, str)
            release = self._follows if value.release is None else value.release
            first_atoms = None if given else value.first_atoms
            value = replace(value, first_atoms=first_atoms, release=release)
        threshold = None
        if self._follows:
            slope = float(fitted.get("threshold_slope", 0.0))
            threshold = RunningThreshold(fitted["threshold"], len(fitted["bias"]), slope)
        backend = backend_of(self)
        if backend is not None:
            return backend.pursuit(
                self._pursuit(),
                value,
                fitted,
                unit_norm=self.atom_norm == "unit",
                coherence_limit=self.coherence_limit,
                threshold=threshold,
            )
        update = value.start(
            fitted["components"],
            fitted["bias"],
            unit_norm=self.atom_norm == "unit",
            coherence_limit=self.coherence_limit,
        )
        return PursuitStepper(
            self._pursuit(),
            update,
            batch_size=mini_batch(self),
            n_jobs=check_n_jobs(self.n_jobs),
            threshold=threshold,
        )
