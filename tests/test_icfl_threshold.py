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
from icfl.learning.threshold import (
    MEMORY,
    PACE,
    SHARE,
    SPREAD,
    RunningThreshold,
    Seen,
    relative,
)
from icfl.metrics import recovery
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


N_ATOMS, N_FEATURES = 5, 8


def begin(common=0.0, slope=0.0):
    return RunningThreshold(np.full(N_ATOMS, common, dtype=np.float32), N_FEATURES, slope)


def seen_of(squares, sizes, *, n_rows=10, uses=None):
    """What a step saw; of atoms that all fire equally often unless said otherwise."""
    uses = np.full(N_ATOMS, 2) if uses is None else uses
    return Seen(squares, sizes, n_rows, uses)


@pytest.fixture(scope="module", name="X")
def rows():
    """Sums of a few features, of which most samples hold two or three, with codes of 4 or so."""
    planted = make_planted(1000, 16, 24, n_active=2.5, random_state=3)
    return (4.0 * planted.X).astype(np.float32)


def test_it_is_a_share_of_the_energy_weighted_mean_size():
    rng = np.random.default_rng(0)
    running, sizes = begin(), []
    for _ in range(MEMORY // 2):
        sizes.append(rng.exponential(size=30))
        running = running.after(seen_of(float(sizes[-1] @ sizes[-1]), float(sizes[-1].sum())))
        # Of t steps the j-th has the weight of t factors 1 - 1 / i, from i = j + 1 on: j / t.
        weights = np.repeat(np.arange(1, len(sizes) + 1), 30)
        pooled = np.concatenate(sizes)
        expected = SHARE * (weights @ pooled**2) / (weights @ pooled)
        # Sums in float64, one rounding to float32.
        assert running.common == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(running.array, expected, rtol=1e-7)


def test_it_starts_at_a_share_of_first_codes_and_falls_while_there_are_none():
    start = begin()
    running = start.begun(np.array([2.0, 4.0, -4.0], dtype=np.float32))
    assert start.common == 0.0  # a first step that fails leaves nothing behind
    size = (4 + 16 + 16) / (2 + 4 + 4)
    np.testing.assert_array_equal(running.array, np.full(N_ATOMS, SHARE * size, np.float32))
    expected = (SPREAD + np.log(N_ATOMS)) / (N_FEATURES * size)
    assert running.slope == pytest.approx(expected, rel=1e-12)
    assert not start.begun(np.zeros(3, dtype=np.float32)).array.any()
    assert begin(0.5).begun(np.full(1, 100.0, dtype=np.float32)).common == 0.5
    nothing = seen_of(0.0, 0.0, uses=np.zeros(N_ATOMS, dtype=int))
    for before in (running, running.after(seen_of(8.0, 4.0))):
        after = before
        for _ in range(70):
            after = after.after(nothing)
        fallen = (1.0 - PACE) ** 70
        assert after.common == pytest.approx(before.common * fallen, rel=1e-10)
        assert after.slope == pytest.approx(before.slope * fallen, rel=1e-10)
        np.testing.assert_allclose(after.array, before.common * fallen, rtol=1e-6)


def test_the_slope_is_what_makes_an_atom_the_likelier_explanation():
    """Noise of known variance, codes of equal size: where both are equally likely is known."""
    size, rate, n_rows = 4.0, 0.02, 1_000_000
    uses = np.full(N_ATOMS, int(rate * n_rows))
    total = float(uses.sum())
    seen = seen_of(size**2 * total, size * total, n_rows=n_rows, uses=uses)
    running = begin().after(seen)
    assert running.slope == pytest.approx((SPREAD - np.log(rate)) / (N_FEATURES * size), rel=1e-4)
    for variance in (0.05, 0.5):
        squared = N_FEATURES * variance
        at = running.common + running.slope * squared
        # log f N(p; τ, s²) = log N(p; 0, s²), f being small, has the root τ / 2 + s² log(1/f) / τ.
        root = size / 2 - variance * np.log(rate) / size
        exact = np.log(rate) + (2 * size * root - size**2) / (2 * variance)
        assert exact == pytest.approx(0.0, abs=1e-12)
        known = (SHARE - 0.5) * size + SPREAD * variance / size  # that codes vary
        assert at - root == pytest.approx(known, abs=1e-4)
    # It rises by a hundredth in a step at most, and falls at once.
    double = seen_of(4 * seen.squares, 2 * seen.sizes, n_rows=n_rows, uses=uses)
    fallen = running
    for _ in range(20 * MEMORY):
        fallen = fallen.after(double)
    assert fallen.slope == pytest.approx(running.slope / 2, rel=1e-3)
    slow = begin(1.0, slope=running.slope / 2).after(seen)
    assert slow.slope == pytest.approx((1.0 + PACE) * running.slope / 2, rel=1e-12)


def test_thresholds_follow_the_logarithm_of_the_rate():
    uses, n_rows = np.array([900, 90, 9, 0, 0]), 1000
    found = begin().after(seen_of(8.0, 4.0, n_rows=n_rows, uses=uses))
    surprise = SPREAD + np.array([-np.log((n + 1) / (n_rows + 1)) for n in uses])
    expected = 2.0 * SHARE * np.sqrt(np.minimum(1.0, surprise / surprise[:3].mean()))
    np.testing.assert_allclose(found.array, expected, rtol=1e-6)
    assert np.all(found.array[2:] == np.float32(found.common))
    np.testing.assert_array_equal(relative(np.zeros(3), 10.0), np.ones(3))
    # Rates are those of the last steps: what fired long ago counts no more than what never did.
    for _ in range(10 * MEMORY):
        found = found.after(seen_of(8.0, 4.0, n_rows=n_rows, uses=np.array([0, 0, 9, 9, 90])))
    assert np.all(found.array[:4] == np.float32(found.common))
    assert found.array[4] < 0.95 * found.common


def test_thresholds_by_rate_find_more_than_any_that_all_share():
    """Two orthogonal atoms of equal size in equal noise, which fire often and hardly ever."""
    rng, rates = np.random.default_rng(0), np.array([0.3, 0.001])
    active = rng.random((200_000, 2)) < rates
    rows = (4.0 * active + rng.standard_normal(active.shape)).astype(np.float32)

    def codes(thresholds):
        options = {"threshold": thresholds, "selection": "positive"}
        return icfl.encode_omp(rows, np.eye(2), 2, **options).toarray() != 0

    def f1(found):
        return np.mean(2.0 * (found & active).sum(axis=0) / (found.sum(0) + active.sum(0)))

    own = relative(codes(np.full(2, 2.5)).sum(axis=0).astype(float), float(len(rows)))
    assert own[0] < 0.9
    assert own[1] == 1.0
    shared = [f1(codes(np.full(2, t))) for t in np.linspace(1.6, 3.6, 21)]
    apart = [f1(codes(t * own)) for t in np.linspace(1.6, 3.6, 21)]
    # 200 active rows of the rare one: F1 of about 0.8 has a standard error of 0.02, half of it in
    # the mean, and the same rows are behind both.
    assert max(apart) > max(shared) + 0.02
    at_best = int(np.argmax(shared))
    assert 0 < at_best < 20


def test_what_noise_adds_up_to_is_not_coded():
    planted = make_planted(6000, 64, 96, n_active=3, coefficient_mean=4.0, random_state=5)
    options = OPTIONS | {"n_components": 96, "max_iter": 20, "batch_size": 128}
    X = planted.X + 0.5 * np.random.default_rng(6).standard_normal(planted.X.shape)
    X, test = X[:4000].astype(np.float32), X[4000:].astype(np.float32)
    model = icfl.ICFL(**options).fit(X)
    arguments = {"threshold": model.threshold_, "bias": model.bias_, "selection": "positive"}
    Z = {
        "with": model.transform(test),
        "without": icfl.encode_omp(test, model.components_, 6, **arguments),
    }
    precision = {
        name: recovery(codes, model.components_, planted.codes[4000:], planted.components).mean(
            "precision"
        )
        for name, codes in Z.items()
    }
    assert precision["with"] > precision["without"] + 0.02


def test_codes_exceed_it_where_they_joined_and_the_file_keeps_it(X, tmp_path):
    model = icfl.ICFL(**OPTIONS).fit(X)
    assert model.threshold_.shape == (24,)
    assert np.ptp(model.threshold_) > 0.1 * model.threshold_.mean()
    Z = model.transform(X)
    by_hand = icfl.encode_omp(
        X,
        model.components_,
        6,
        threshold=model.threshold_,
        threshold_slope=float(model.threshold_slope_),
        bias=model.bias_,
        selection="positive",
    )
    assert (by_hand != Z).nnz == 0
    model.save(tmp_path / "model.safetensors")
    again = icfl.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.threshold_, model.threshold_)
    np.testing.assert_array_equal(again.threshold_slope_, model.threshold_slope_)
    assert model.threshold_slope_ > 0.0
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
    np.testing.assert_array_equal(resumed.threshold_, whole.threshold_)
    np.testing.assert_array_equal(resumed.threshold_slope_, whole.threshold_slope_)


def test_threads_do_not_change_it(X):
    one, two = (icfl.ICFL(**OPTIONS, n_jobs=n).fit(X) for n in (1, 2))
    assert bits(one) == bits(two)
    np.testing.assert_array_equal(one.threshold_, two.threshold_)


def test_partial_fit_learns_it(X):
    model = icfl.ICFL(**OPTIONS)
    model.partial_fit(X[:200])
    first = model.threshold_
    model.partial_fit(10 * X[200:])
    assert model.threshold_.max() > 1.5 * first.max()


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_rows_that_shrink_are_coded_again(X, backend):
    model = icfl.ICFL(**OPTIONS, backend=backend, n_jobs=1).fit(X)
    faint = 0.1 * (X[:64] - model.bias_) + model.bias_
    assert model.transform(faint).nnz == 0
    # To fall to a tenth takes log 10 / 0.01 = 230 steps, and as many rows were of the size before.
    model.partial_fit(np.tile(faint, (400, 1)))
    assert np.all(model.threshold_ < 0.2 * model.transform(X).data.max())
    assert model.transform(faint).nnz > 32


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
        np.testing.assert_allclose(tensors.threshold_, compiled.threshold_, rtol=1e-4)
        np.testing.assert_allclose(tensors.threshold_slope_, compiled.threshold_slope_, rtol=1e-4)
        Z, there = compiled.transform(X), tensors.transform(X)
        assert np.mean(np.diff(Z.indptr) == np.diff(there.indptr)) > 0.99
