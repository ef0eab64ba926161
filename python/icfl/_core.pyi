"""The compiled module: kernels, encoders and dictionary updates on NumPy arrays."""

from typing import Any, Literal, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AdamUpdate",
    "Autoencoder",
    "Dictionary",
    "MomentSums",
    "OnlineUpdate",
    "__version__",
    "auroc",
    "coherent_atoms",
    "count_active",
    "decode",
    "expected_entropy",
    "hypergeometric_null",
    "permutation_null",
    "prepare_rows",
    "reconstruction_sums",
    "simd_level",
    "simd_levels",
    "survey_rows",
]

__version__: str

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Codes: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
_Indices: TypeAlias = NDArray[np.int32] | NDArray[np.int64]
_AnyCodes: TypeAlias = _Floats | tuple[NDArray[np.int64], _Indices, _Floats]
_Pattern: TypeAlias = tuple[NDArray[np.int64], _Indices]
_Moved: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]
_ReconstructionSums: TypeAlias = tuple[float, float, NDArray[np.float64], NDArray[np.float64]]
_Selection: TypeAlias = Literal["positive", "absolute"]

def simd_level() -> str: ...
def simd_levels() -> list[str]: ...
def prepare_rows(
    X: _Floats, unit_norm: bool, n_jobs: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def survey_rows(
    X: _Floats, unit_norm: bool, n_jobs: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float32]]: ...
def decode(
    codes: _Codes,
    components: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    n_jobs: int | None,
) -> NDArray[np.float32]: ...
def coherent_atoms(
    components: NDArray[np.float32], limit: float, n_jobs: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
def auroc(
    Z: tuple[NDArray[np.int64], _Indices, _Floats],
    labels: NDArray[np.int64],
    areas: NDArray[np.float64],
    errors: NDArray[np.float64],
    n_jobs: int | None,
) -> None: ...
def count_active(
    Z: _AnyCodes, labels: NDArray[np.int64], counts: NDArray[np.int64], n_jobs: int | None
) -> None: ...
def expected_entropy(
    active: NDArray[np.int64],
    all: NDArray[np.int64],
    strata: NDArray[np.int64],
    drawn: NDArray[np.int64],
    n_jobs: int | None,
) -> NDArray[np.float64]: ...
def hypergeometric_null(
    pattern: _Pattern,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    observed: NDArray[np.int64],
    n_jobs: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def permutation_null(
    pattern: _Pattern,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    observed: NDArray[np.int64],
    kind: str,
    seed: int,
    n_permutations: int,
    n_jobs: int | None,
) -> tuple[NDArray[np.uint32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def reconstruction_sums(
    X: NDArray[np.float32],
    codes: _Codes,
    components: NDArray[np.float32],
    bias: NDArray[np.float32],
    n_jobs: int | None,
) -> _ReconstructionSums: ...

@final
class Dictionary:
    def __new__(
        cls, components: NDArray[np.float32], offsets: NDArray[np.float32] | None = None
    ) -> Self: ...
    @property
    def n_components(self) -> int: ...
    @property
    def n_features(self) -> int: ...
    def encode_topk(
        self,
        X: _Floats,
        bias: NDArray[np.float32] | None,
        n_nonzero: int,
        selection: _Selection,
        n_jobs: int | None,
    ) -> _Codes: ...
    def encode_above(
        self,
        X: _Floats,
        bias: NDArray[np.float32] | None,
        threshold: float,
        n_jobs: int | None,
    ) -> _Codes: ...
    def encode_icfl(
        self,
        X: _Floats,
        bias: NDArray[np.float32] | None,
        n_iterations: int,
        atoms_per_iteration: int,
        threshold: float,
        selection: _Selection,
        use_gram: bool,
        n_jobs: int | None,
    ) -> _Codes: ...
    def encode_omp(
        self,
        X: _Floats,
        bias: NDArray[np.float32] | None,
        n_nonzero: int,
        threshold: float,
        threshold_slope: float,
        selection: _Selection,
        use_gram: bool,
        n_jobs: int | None,
    ) -> _Codes: ...
    def redundant_atoms(
        self, most: int, limit: float, n_jobs: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]: ...

@final
class AdamUpdate:
    def __new__(
        cls, n_components: int, n_features: int, learning_rate: float, unit_norm: bool
    ) -> Self: ...
    def step(
        self,
        X: NDArray[np.float32],
        codes: _Codes,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        n_jobs: int | None,
    ) -> tuple[AdamUpdate, _Moved, _ReconstructionSums]: ...
    def reset(self, atoms: NDArray[np.int64]) -> None: ...
    def arrays(self) -> dict[str, NDArray[np.float32] | NDArray[np.float64]]: ...
    def set_arrays(self, arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]]) -> None: ...

@final
class Autoencoder:
    def __new__(
        cls,
        n_components: int,
        n_features: int,
        activation: str,
        widths: list[int],
        aux_coefficient: float,
        largest_gradient: float,
    ) -> Self: ...
    def advance(
        self,
        X: NDArray[np.float32],
        n_nonzero: int,
        rate: float,
        dead: NDArray[np.int64],
        k_aux: int,
        memory: float,
        n_jobs: int | None,
    ) -> tuple[_Codes, _ReconstructionSums]: ...
    def commit(self) -> None: ...
    def parameters(self) -> dict[str, Any]: ...
    def set_parameters(self, arrays: dict[str, Any]) -> None: ...
    def arrays(self) -> dict[str, NDArray[np.float32] | NDArray[np.float64]]: ...
    def set_arrays(self, arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]]) -> None: ...

@final
class OnlineUpdate:
    def __new__(cls, n_components: int, n_features: int) -> Self: ...
    def accumulated(
        self, X: NDArray[np.float32], codes: _Codes, keep: float, n_jobs: int | None
    ) -> OnlineUpdate: ...
    def sweep(
        self,
        components: NDArray[np.float32],
        bias: NDArray[np.float32],
        unit_norm: bool,
        n_jobs: int | None,
    ) -> _Moved: ...
    def recode(
        self, atom: int, others: NDArray[np.int64], weights: NDArray[np.float32], left: float
    ) -> None: ...
    def clear(self, atoms: NDArray[np.int64]) -> None: ...
    @property
    def energy(self) -> NDArray[np.float32]: ...
    def arrays(self) -> dict[str, NDArray[np.float32] | NDArray[np.float64]]: ...
    def set_arrays(self, arrays: dict[str, NDArray[np.float32] | NDArray[np.float64]]) -> None: ...

@final
class MomentSums:
    def __new__(cls, n_features: int) -> Self: ...
    @property
    def block_rows(self) -> int: ...
    def add(self, X: _Floats, rows: NDArray[np.int64] | None, n_jobs: int | None) -> None: ...
    def arrays(
        self,
    ) -> tuple[
        NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float
    ]: ...
