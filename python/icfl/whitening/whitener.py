"""Whitening learnt from control samples: what is normal becomes a unit ball, the rest stands out.

With mean m and covariance C = V^T diag(lambda) V of the unperturbed controls, every sample becomes

    pca:  u = V (x - m) / sqrt(lambda + eps * lambda_max)
    zca:  V^T u

so that the controls have zero mean and unit covariance, and a distance counts in units of what
controls do by themselves. It is the first step before dictionary learning on the activations of
microscopy foundation models (Donhauser et al., ICML 2025, arXiv:2412.16247); batch corrections
(Ando et al., bioRxiv 161422) are fitted on the same controls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from icfl._validation import Floats, check_matrix, estimator_rows
from icfl.exceptions import InputError, InputTypeError, ModelFileError
from icfl.hub.pretrained import Pretrained
from icfl.whitening import state
from icfl.whitening.fitting import Options, add_statistics, collect, solve
from icfl.whitening.mapping import lacking_controls
from icfl.whitening.moments import empty_output, finite_block, for_blocks
from icfl.whitening.results import WhiteningResults

__all__ = ["ControlWhitener"]


class ControlWhitener(
    Pretrained, WhiteningResults, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Whiten samples with the mean and covariance of the controls among them.

    Parameters
    ----------
    n_components : int, float or None, default=None
        Directions to keep, by falling control variance. None keeps every direction in which the
        controls vary (above 1e-12 of the largest variance, which is the rounding of the estimate):
        with fewer controls than features, or constant columns, the others are left out, since
        nothing is known of their scale and dividing by almost zero would drown the rest. A float in
        (0, 1) is the least share of the control variance to keep.
    method : {"pca", "zca"}, default="pca"
        "pca" gives coordinates along the eigenvectors, (n_samples, n_components). "zca" turns these
        back to the input axes, (n_samples, n_features): of all whitenings the one that changes the
        data least.
    eps : float, default=1e-6
        Added to every variance, as a share of the largest one, so that no direction is magnified
        more than 1 / sqrt(eps) times as much as the strongest. Whitened controls have the variance
        ``lambda / (lambda + eps * lambda_max)``, exactly 1 only for ``eps=0``.
    shrinkage : {"ledoit-wolf"}, float or None, default=None
        Mix the covariance with this share of the scaled identity ``tr(C) / n_features * I``;
        "ledoit-wolf" estimates the share from the controls. Recommended with fewer than about ten
        controls per feature. All directions then have variance and are kept.
    batch_correction : {"center-scale", "coral"} or None, default=None
        What to do to each batch (plate, experiment), from that batch's controls. "center-scale"
        standardises every whitened coordinate per batch. "coral" is typical variation
        normalisation (TVN): columns are standardised before the eigenvectors are found, and the
        white coordinates of a batch are multiplied by ``(C_b + 0.5 I)^(-1/2)``.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,), float64
        Mean of the controls.
    scale_ : ndarray of shape (n_features,), float64
        What columns are divided by before the eigenvectors: ones, but for "coral".
    components_ : ndarray of shape (n_components_, n_features), float64
        Orthonormal eigenvectors in rows, the entry of largest magnitude of each positive.
    explained_variance_ : ndarray of shape (n_components_,), float64
        Control variance along each, after shrinkage and without eps.
    explained_variance_ratio_ : ndarray of shape (n_components_,), float64
        The same as a share of the total.
    n_components_ : int
        Number of directions kept.
    n_controls_ : int
        Controls seen.
    shrinkage_ : float
        Share of the scaled identity in the covariance.
    batches_ : list of str or int
        Batches with a correction, sorted. Only with `batch_correction`.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if X had string column names.

    See Also
    --------
    sklearn.decomposition.PCA : With ``whiten=True``, the same map for ``eps=0`` and no controls.

    Notes
    -----
    Statistics are float64 and one pass, whatever X holds; X may be a memory map and is read a block
    at a time (by `transform` a block per core, eight at most), of which `fit` touches the control
    rows only. Fits on several machines are joined by `merge`. Variances have the divisor n - 1,
    except that the standardisations of the batch corrections have n, as scikit-learn's
    StandardScaler has in the published recipes.

    A batch correction keeps one (n_features, n_features) matrix of float64 per batch: 8 MB each at
    1,024 features. "coral" does not centre the batches, and shrinks: where a batch's controls are
    already white it multiplies by ``1.5 ** -0.5``.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning: Extracting
       biological concepts from microscopy foundation models", ICML 2025.
    .. [2] Kessy, Lewin, Strimmer, "Optimal whitening and decorrelation", Am. Stat. 72 (2018).
    .. [3] Ledoit, Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
       J. Multivariate Anal. 88 (2004).
    .. [4] Ando, McLean, Berndl, "Improving phenotypic measurements in high-content imaging
       screens", bioRxiv 161422 (2017).

    Examples
    --------
    >>> import numpy as np
    >>> from icfl.whitening import ControlWhitener
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(loc=100.0, scale=[1.0, 5.0, 20.0], size=(500, 3))
    >>> control = np.arange(500) < 300
    >>> whitener = ControlWhitener(eps=0.0).fit(X, control=control)
    >>> whitener.n_controls_, whitener.components_.shape
    (300, (3, 3))
    >>> bool(np.allclose(np.cov(whitener.transform(X[control]).T), np.eye(3)))
    True
    """

    def __init__(
        self,
        n_components: int | float | None = None,
        *,
        method: str = "pca",
        eps: float = 1e-6,
        shrinkage: str | float | None = None,
        batch_correction: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.method = method
        self.eps = eps
        self.shrinkage = shrinkage
        self.batch_correction = batch_correction

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        control: ArrayLike | None = None,
        batch: ArrayLike | None = None,
    ) -> ControlWhitener:
        """Learn mean and covariance of the controls, forgetting what was seen before.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, any real dtype. Of a memory map only the control rows are read.
        y : ignored
            Present for scikit-learn's interface.
        control : array-like of bool of shape (n_samples,), default=None
            Which samples are controls. None: all.
        batch : array-like of str or int of shape (n_samples,), default=None
            Batch of each sample. Needed with `batch_correction`, ignored without.

        Returns
        -------
        ControlWhitener
            Itself.

        Raises
        ------
        InputError
            If a parameter or an array is not as described, no row or only one is a control, the
            controls do not differ or hold NaN or infinity, or (with `batch_correction`) a batch has
            fewer than two controls or a row no label.
        InputTypeError
            If `control` is not boolean or a label is neither string nor integer.
        """
        options = Options.check(vars(self))
        rows = estimator_rows(self, X, reset=True)
        statistics = collect(rows, control, batch, options)
        if not any(part.count for part in statistics.values()):
            raise InputError(f"control marks none of the {len(rows)} rows of X as a control")
        fitted = solve(statistics, options)
        if fitted.batches is not None and fitted.batches.lacking:
            raise InputError(lacking_controls(fitted.batches.lacking))
        self._statistics, self._map = statistics, fitted
        return self

    def partial_fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        control: ArrayLike | None = None,
        batch: ArrayLike | None = None,
    ) -> ControlWhitener:
        """Add samples to the statistics; the pieces may come in any sizes, some without controls.

        Nothing is solved until the result is asked for, so a call costs one pass over its controls.
        In the end the fit equals that on all samples at once, to rounding.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            More samples.
        y : ignored
            Present for scikit-learn's interface.
        control : array-like of bool of shape (n_samples,), default=None
            Which samples are controls. None: all.
        batch : array-like of str or int of shape (n_samples,), default=None
            Batch of each sample. Needed with `batch_correction`, ignored without.

        Returns
        -------
        ControlWhitener
            Itself. If an error is raised, the statistics are as before the call.

        Raises
        ------
        InputError, InputTypeError
            As in `fit`; but missing controls are reported by the first use of the result.
        """
        options = Options.check(vars(self))
        first = not self.__sklearn_is_fitted__()
        rows = estimator_rows(self, X, reset=first)
        more = collect(rows, control, batch, options)
        if first:
            self._statistics = more
        else:
            add_statistics(self._kept_statistics(), more)
        self._map = None
        return self

    def merge(self, other: ControlWhitener) -> ControlWhitener:
        """Add the samples that `other` has seen, as if they had been fitted here.

        Parameters
        ----------
        other : ControlWhitener
            Fitted, or partially fitted, on other samples with the same features; left unchanged.

        Returns
        -------
        ControlWhitener
            Itself.

        Raises
        ------
        InputError
            If the two have other features, or only one keeps its batches apart.
        InputTypeError
            If `other` is not a ControlWhitener.

        Examples
        --------
        >>> import numpy as np
        >>> from icfl.whitening import ControlWhitener
        >>> X = np.random.default_rng(0).normal(size=(60, 4))
        >>> first, second = ControlWhitener().fit(X[:20]), ControlWhitener().fit(X[20:])
        >>> bool(np.allclose(first.merge(second).mean_, X.mean(axis=0)))
        True
        """
        if not isinstance(other, ControlWhitener):
            raise InputTypeError(f"other must be a ControlWhitener, got {type(other).__name__}")
        check_is_fitted(self)
        check_is_fitted(other)
        if self.n_features_in_ != other.n_features_in_:
            raise InputError(
                f"other was fitted on {other.n_features_in_} features, this one on"
                f" {self.n_features_in_}"
            )
        mine, theirs = (getattr(w, "feature_names_in_", None) for w in (self, other))
        if mine is not None and theirs is not None and list(mine) != list(theirs):
            raise InputError("other was fitted on features with other names")
        more = {label: part.copy() for label, part in other._kept_statistics().items()}
        add_statistics(self._kept_statistics(), more)
        self._map = None
        return self

    def transform(self, X: ArrayLike, batch: ArrayLike | None = None) -> Floats:
        """Whiten samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, controls or not.
        batch : array-like of str or int of shape (n_samples,), default=None
            Batch of each sample. Needed with `batch_correction`, ignored without.

        Returns
        -------
        ndarray of shape (n_samples, n_components_), or (n_samples, n_features) for "zca"
            float64 for float64 input, otherwise float32. Computed in float64.

        Raises
        ------
        InputError
            If X has another width than in fit, or NaN or infinity, or a batch label is missing,
            unknown, or of a batch with fewer than two controls.
        """
        fitted = self._fitted()
        rows = estimator_rows(self, X, reset=False)
        codes = fitted.codes(batch, len(rows))
        out = empty_output(rows, fitted.n_outputs)

        def forward(place: slice) -> None:
            out[place] = fitted.forward(finite_block(rows, place), codes[place])

        for_blocks(forward, *rows.shape)
        return out

    def fit_transform(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        control: ArrayLike | None = None,
        batch: ArrayLike | None = None,
    ) -> Floats:
        """Fit, then whiten the same samples, with the same batches.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.
        y : ignored
            Present for scikit-learn's interface.
        control : array-like of bool of shape (n_samples,), default=None
            Which samples are controls. None: all.
        batch : array-like of str or int of shape (n_samples,), default=None
            Batch of each sample.

        Returns
        -------
        ndarray of shape (n_samples, n_components_), or (n_samples, n_features) for "zca"
            All samples, whitened.
        """
        return self.fit(X, y, control=control, batch=batch).transform(X, batch)

    def inverse_transform(self, X: ArrayLike, batch: ArrayLike | None = None) -> Floats:
        """Return the samples behind whitened ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components_), or (n_samples, n_features) for "zca"
            Whitened samples.
        batch : array-like of str or int of shape (n_samples,), default=None
            Their batches, as in `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The samples; of directions that were not kept, the mean of the controls.

        Raises
        ------
        InputError
            As in `transform`.
        """
        fitted = self._fitted()
        white = check_matrix(X, "X", minimum_rows=1)
        if white.shape[1] != fitted.n_outputs:
            raise InputError(
                f"X has {white.shape[1]} features, but whitened samples have {fitted.n_outputs}"
            )
        codes = fitted.codes(batch, len(white))
        out = empty_output(white, self.n_features_in_)

        def backward(place: slice) -> None:
            out[place] = fitted.backward(finite_block(white, place), codes[place])

        for_blocks(backward, *out.shape)
        return out

    def get_state(self, *, statistics: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the fitted whitener as plain data, for `from_state`.

        Parameters
        ----------
        statistics : bool, default=True
            Keep what `partial_fit` and `merge` need to go on: n_features^2 / 2 numbers, for each
            batch with a `batch_correction`.

        Returns
        -------
        config : dict
            JSON-able.
        tensors : dict of str to ndarray
            float64 arrays.
        """
        config, tensors = state.pack_map(self._fitted())
        names = getattr(self, "feature_names_in_", None)
        config |= {
            "parameters": state.plain(self.get_params()),
            "n_features_in": int(self.n_features_in_),
            "feature_names_in": None if names is None else [str(name) for name in names],
            "statistics": statistics and self._statistics is not None,
        }
        if config["statistics"]:
            more, arrays = state.pack_moments(self._kept_statistics())
            config, tensors = config | more, tensors | arrays
        return config, tensors

    @classmethod
    def from_state(
        cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> ControlWhitener:
        """Return the fitted whitener that `get_state` described.

        Parameters
        ----------
        config : mapping
            Its first result, as it is or after a round trip through JSON.
        tensors : mapping of str to ndarray
            Its second result.

        Returns
        -------
        ControlWhitener
            Transforms to the same bits.

        Raises
        ------
        ModelFileError
            If anything is missing, has another shape or dtype, or is out of range.
        """
        reader = state.StateReader(config, tensors)
        whitener = cls(**reader.arguments("parameters", cls().get_params()))
        try:
            Options.check(vars(whitener))
        except (InputError, InputTypeError) as error:
            raise ModelFileError(f"whitening state: {error}") from error
        reader.sizes["d"] = whitener.n_features_in_ = reader.integer("n_features_in", 1)
        names = reader.names("feature_names_in", whitener.n_features_in_)
        if names is not None:
            whitener.feature_names_in_ = np.array(names, dtype=object)
        whitener._map = state.unpack_map(reader)
        whitener._statistics = state.unpack_moments(reader) if reader.flag("statistics") else None
        reader.finish()
        return whitener

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_statistics")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
