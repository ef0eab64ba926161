"""The threshold that sets itself, and codes that are refitted jointly, on both backends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import icfl
import oracles
from icfl.coding.coders import OrthogonalPursuit
from icfl.datasets import make_planted
from icfl.exceptions import InputError, InputTypeError
from icfl.learning.threshold import MEMORY, SHARE, RunningThreshold
from icfl.torch.orthogonal import Orthogonal
from training_runs import bits

torch.set_num_threads(1)

OPTIONS = {
    "n_components": 24,
    "n_iterations": 6,
    "atoms_per_iteration": 1,
    "threshold": "auto",
    "unit_norm_inputs": False,
    "batch_size": 64,
    "max_iter": 6,
    "random_state": 0,
}


@pytest.fixture(scope="module", name="X")
def rows():
    """Sums of a few features, of which most samples hold two or three, with codes of 4 or so."""
    planted = make_planted(1000, 16, 24, n_active=2.5, random_state=3)
    return (4.0 * planted.X).astype(np.float32)


def test_it_is_a_share_of_the_energy_weighted_mean_size():
    rng = np.random.default_rng(0)
    running, sizes = RunningThreshold(0.0), []
    for _ in range(MEMORY // 2):
        sizes.append(rng.exponential(size=30))
        running = running.after(float(sizes[-1] @ sizes[-1]), float(sizes[-1].sum()))
        # Of t steps the j-th has the weight of t factors 1 - 1 / i, from i = j + 1 on: j / t.
        weights = np.repeat(np.arange(1, len(sizes) + 1), 30)
        pooled = np.concatenate(sizes)
        expected = SHARE * (weights @ pooled**2) / (weights @ pooled)
        # Sums in float64, one rounding to float32.
        assert running.value == pytest.approx(expected, rel=1e-7)


def test_steps_without_codes_leave_it():
    start = RunningThreshold(0.0)
    running = start.begun(np.array([2.0, 4.0], dtype=np.float32))
    assert start.value == 0.0  # a first step that fails leaves nothing behind
    assert running.value == np.float32(3.0 * SHARE)
    assert running.after(0.0, 0.0).value == running.value
    assert RunningThreshold(0.5).begun(np.array([100.0])).value == 0.5


def test_codes_exceed_it_where_they_joined_and_the_file_keeps_it(X, tmp_path):
    model = icfl.ICFL(**OPTIONS).fit(X)
    assert model.threshold_.shape == ()
    Z = model.transform(X)
    by_hand = icfl.encode_omp(
        X,
        model.components_,
        6,
        threshold=float(model.threshold_),
        bias=model.bias_,
        selection="positive",
    )
    assert (by_hand != Z).nnz == 0
    model.save(tmp_path / "model.safetensors")
    again = icfl.load(tmp_path / "model.safetensors")
    assert again.threshold_ == model.threshold_
    assert (again.transform(X) != Z).nnz == 0


def test_l0_follows_the_rows(X):
    model = icfl.ICFL(**OPTIONS).fit(X)
    counts = np.diff(model.transform(X).indptr)
    full = icfl.ICFL(**(OPTIONS | {"threshold": 0.0})).fit(X)
    assert counts.std() > 0.5
    assert counts.mean() < 0.75 * np.diff(full.transform(X).indptr).mean()


def test_a_killed_run_goes_on_with_it(X, tmp_path):
    options = OPTIONS | {"checkpoint": tmp_path / "run.checkpoint", "checkpoint_interval": 0.0}
    whole = icfl.ICFL(**options).fit(X)

    def stop(progress):
        if progress.step == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        icfl.ICFL(**options).fit(X, callback=stop)
    resumed = icfl.ICFL(**options).fit(X, resume=True)
    assert bits(resumed) == bits(whole)
    assert resumed.threshold_ == whole.threshold_


def test_threads_do_not_change_it(X):
    one, two = (icfl.ICFL(**OPTIONS, n_jobs=n).fit(X) for n in (1, 2))
    assert bits(one) == bits(two)
    assert one.threshold_ == two.threshold_


def test_partial_fit_learns_it(X):
    model = icfl.ICFL(**OPTIONS)
    model.partial_fit(X[:200])
    first = float(model.threshold_)
    model.partial_fit(10 * X[200:])
    assert model.threshold_ > 1.5 * first


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threshold": "automatic"}, InputTypeError, "threshold must be a number"),
        ({"threshold": -1.0}, InputError, "threshold must not be negative with refit='joint'"),
        ({"refit": "all"}, InputError, "refit must be one of"),
    ],
)
def test_bad_arguments_are_refused(X, options, error, message):
    with pytest.raises(error, match=message):
        icfl.ICFL(**(OPTIONS | options)).fit(X)


@pytest.mark.parametrize("selection", ["positive", "absolute"])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
@pytest.mark.parametrize("n_nonzero", [1, 4, 40])
def test_orthogonal_pursuit_on_tensors_is_that_of_the_definition(selection, threshold, n_nonzero):
    rng = np.random.default_rng(n_nonzero)
    D = oracles.unit_rows(rng.standard_normal((30, 12))).astype(np.float32)
    X, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((60, 12), 12))
    coder = OrthogonalPursuit(n_nonzero, threshold, selection)
    found = Orthogonal(coder, torch.from_numpy(D), torch.from_numpy(bias))
    codes = found.encode(torch.from_numpy(X)).numpy()
    oracle = oracles.encode_omp(X, D, n_nonzero, threshold, bias, selection)
    clear = oracle.clear
    assert clear.mean() > 0.5 or n_nonzero > 12
    np.testing.assert_array_equal((codes != 0)[clear], (oracle.codes != 0)[clear])
    error = abs(codes - oracle.codes)[clear]
    assert np.all(error <= 2 * oracle.coefficient_error[clear, None])


def test_dependent_atoms_end_a_row():
    D = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    coder = OrthogonalPursuit(3, 0.0, "positive")
    codes = Orthogonal(coder, D, torch.zeros(2)).encode(torch.tensor([[3.0, 2.0], [-1.0, -1.0]]))
    assert codes.tolist() == [[3.0, 0.0, 2.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("threshold", ["auto", 0.0])
def test_a_fit_on_tensors_is_that_of_the_compiled_code(X, threshold):
    # A few steps: later, roundings decide which of two atoms takes a place.
    options = OPTIONS | {"threshold": threshold, "max_iter": None, "max_steps": 12}
    compiled = icfl.ICFL(**options).fit(X)
    tensors = icfl.ICFL(**options, backend="torch", device="cpu").fit(X)
    np.testing.assert_allclose(tensors.components_, compiled.components_, rtol=0, atol=1e-4)
    if threshold == "auto":
        assert tensors.threshold_ == pytest.approx(float(compiled.threshold_), rel=1e-4)
        Z, there = compiled.transform(X), tensors.transform(X)
        assert np.mean(np.diff(Z.indptr) == np.diff(there.indptr)) > 0.99
