"""The threshold that sets itself, and codes that are refitted jointly, on both backends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import optimize, sparse, stats

import icfl
import oracles
from icfl.coding.coders import BlockPursuit, OrthogonalPursuit
from icfl.datasets import make_planted
from icfl.exceptions import InputError, InputTypeError
from icfl.learning.pursuit import PursuitStepper
from icfl.learning.stepper import Moment
from icfl.learning.threshold import (
    FIRST_SHARE,
    MEMORY,
    NOISE,
    PACE,
    SHARES,
    SPREAD,
    RunningThreshold,
    Seen,
    relative,
)
from icfl.torch import TorchBackend
from icfl.torch.icfl import TorchPursuitStepper
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


def seen_of(squares, sizes, *near, n_rows=10, uses=None):
    """What a step saw; of atoms that all fire equally often unless said otherwise."""
    uses = np.full(N_ATOMS, 2) if uses is None else uses
    return Seen(squares, sizes, n_rows, uses, *near)


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
        expected = FIRST_SHARE * (weights @ pooled**2) / (weights @ pooled)
        # Sums in float64, one rounding to float32.
        assert running.common == pytest.approx(expected, rel=1e-12)
        np.testing.assert_allclose(running.array, expected, rtol=1e-7)


def test_it_starts_at_a_share_of_first_codes_and_falls_while_there_are_none():
    start = begin()
    running = start.begun(np.array([2.0, 4.0, -4.0], dtype=np.float32))
    assert start.common == 0.0  # a first step that fails leaves nothing behind
    size = (4 + 16 + 16) / (2 + 4 + 4)
    np.testing.assert_array_equal(running.array, np.full(N_ATOMS, FIRST_SHARE * size, np.float32))
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


@pytest.mark.parametrize(
    ("below", "mirrored", "direction"),
    [(30, 12, 0), (5, 2, 0), (0, 0, 0), (30, 13, 1), (0, 1, 1), (31, 12, -1), (5, 0, -1)],
)
def test_a_share_of_what_is_just_below_it_is_noise(below, mirrored, direction):
    assert NOISE == 0.4  # as the cases have it
    seen = seen_of(8.0, 4.0, below, mirrored)
    first = begin().after(seen)
    assert np.sign(round(first.common - 2.0 * FIRST_SHARE, 12)) == direction
    assert abs(np.log(first.common / (2.0 * FIRST_SHARE))) <= PACE * (1.0 + 1e-12)
    for _ in range(200):
        first = first.after(seen)
    limit = {0: FIRST_SHARE, 1: SHARES[1], -1: SHARES[0]}[direction]
    if direction == 0 or below * mirrored == 0:
        assert first.common == pytest.approx(2.0 * limit, rel=1e-12)


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
        known = (FIRST_SHARE - 0.5) * size + SPREAD * variance / size  # that codes vary
        assert at - root == pytest.approx(known, abs=1e-4)
    # It falls at once, and rises by a hundredth in a step at most.
    assert begin(1.0, slope=3.0 * running.slope).after(seen).slope == running.slope
    double = seen_of(4 * seen.squares, 2 * seen.sizes, n_rows=n_rows, uses=uses)
    assert begin().after(double).slope == pytest.approx(running.slope / 2, rel=1e-12)
    slow = begin(1.0, slope=running.slope / 2).after(seen)
    assert slow.slope == pytest.approx((1.0 + PACE) * running.slope / 2, rel=1e-12)


def test_thresholds_follow_the_logarithm_of_the_rate():
    uses, n_rows = np.array([900, 90, 9, 0, 0]), 1000
    found = begin().after(seen_of(8.0, 4.0, n_rows=n_rows, uses=uses))
    surprise = SPREAD + np.array([-np.log((n + 1) / (n_rows + 1)) for n in uses])
    expected = 2.0 * FIRST_SHARE * np.sqrt(np.minimum(1.0, surprise / surprise[:3].mean()))
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


SLOPE = 0.005


def stepper(backend, coder, threshold):
    """Late in a run, with a dictionary that is none yet."""
    atoms = oracles.unit_rows(np.random.default_rng(1).standard_normal((24, 16)))
    arrays = {"components": atoms.astype(np.float32), "bias": np.full(16, 0.25, np.float32)}
    update = icfl.updates.Online(first_atoms=None)
    running = RunningThreshold(np.asarray(threshold, dtype=np.float32), 16, SLOPE)
    norms = {"unit_norm": True, "coherence_limit": 0.9}
    if backend == "torch":
        return TorchPursuitStepper(
            coder, update, arrays, TorchBackend(), **norms, threshold=running
        )
    return PursuitStepper(
        coder, update.start(**arrays, **norms), batch_size=600, n_jobs=1, threshold=running
    )


@pytest.mark.parametrize("backend", ["rust", "torch"])
@pytest.mark.parametrize(
    "coder", [OrthogonalPursuit(2, 0.0, "positive"), BlockPursuit(2, 1, 0.0, "positive")]
)
@pytest.mark.parametrize(("n_rows", "every"), [(256, 1), (600, 3)])
def test_inner_products_just_below_it_are_counted(X, monkeypatch, backend, coder, n_rows, every):
    limits = np.linspace(0.7, 0.9, 24).astype(np.float32)
    learner, rows, found = stepper(backend, coder, limits), X[:n_rows], []
    monkeypatch.setattr(RunningThreshold, "after", lambda self, seen: found.append(seen) or self)
    starts, indices, values = learner.encode(rows)
    rng, silent = np.random.default_rng(0), np.zeros(24, np.int64)
    learner.advance(rows, Moment(99, 100, rng, silent, 1000))
    (seen,) = found
    sizes = values.astype(np.float64)
    assert seen.squares == pytest.approx(sizes @ sizes, rel=1e-5)
    assert seen.sizes == pytest.approx(sizes.sum(), rel=1e-5)
    assert seen.n_rows == n_rows
    np.testing.assert_array_equal(seen.uses, np.bincount(indices, minlength=24))
    D, bias = (learner.fitted()[name].astype(np.float64) for name in ("components", "bias"))
    Z = sparse.csr_array((sizes, indices, starts), shape=(n_rows, 24))
    left = (rows - bias - Z @ D)[::every]
    if isinstance(coder, OrthogonalPursuit):
        more = SLOPE * np.square(left).sum(axis=1, keepdims=True)
        assert 0.1 < more.mean() < 1.0
        limits = limits * (1.0 + more / limits.max())
    # Of norms below 20, sums of 16 products and of a few atoms: 1e-4 is far from their rounding.
    for sign, count in ((1, seen.below), (-1, seen.mirrored)):
        products = sign * (left @ D.T)
        least, most = (
            int(((products > 0.9 * limits + edge) & (products <= limits - edge)).sum())
            for edge in (1e-4, -1e-4)
        )
        assert least <= count <= most < least + 5
        assert least > 10


@pytest.mark.parametrize("backend", ["rust", "torch"])
def test_codes_of_either_sign_tell_nothing_of_noise(X, monkeypatch, backend):
    learner, found = stepper(backend, OrthogonalPursuit(2, 0.0, "absolute"), [0.8] * 24), []
    monkeypatch.setattr(RunningThreshold, "after", lambda self, seen: found.append(seen) or self)
    learner.advance(X[:100], Moment(99, 100, np.random.default_rng(0), np.zeros(24, int), 1000))
    (seen,) = found
    assert seen.squares > 0.0
    assert seen.uses.sum() > 0
    assert seen.below == seen.mirrored == 0


def test_it_is_led_to_where_that_share_is_noise():
    """Noise is normal, codes are uniform from 0 to 8: where a share is noise is then known."""
    n_noise, n_codes, noise = 10_000, 800, stats.norm(0.0, 1.0)

    def excess(t):
        mirrored = n_noise * (noise.cdf(t) - noise.cdf(0.9 * t))
        return mirrored - NOISE * (mirrored + n_codes * 0.1 * t / 8.0)

    expected = optimize.brentq(excess, 1.0, 5.0)
    rng, running, values = np.random.default_rng(0), begin(), []
    size = expected / 0.47  # of codes, so that the share lies within its limits
    for _ in range(1000):
        products = np.concatenate([rng.normal(size=n_noise), rng.uniform(0, 8, size=n_codes)])
        t = running.common or FIRST_SHARE * size
        near = [int(((p > 0.9 * t) & (p <= t)).sum()) for p in (products, -products)]
        running = running.after(seen_of(size * size, size, *near))
        values.append(running.common)
    # From 0.42 to 0.47 of the size is 0.11 in the logarithm, at 0.01 a step for all noise. Of some
    # 50 and 20 counts, what moves it is off by 0.12 of that or so, and is a quarter of it for 10 %
    # more of t: 0.5 % in a step, and less in the mean of many.
    assert np.mean(values[500:]) == pytest.approx(expected, rel=0.01)
    assert np.std(values[500:]) < 0.02 * expected


def test_it_rises_with_noise():
    planted = make_planted(4000, 64, 96, n_active=3, coefficient_mean=4.0, random_state=5)
    options = OPTIONS | {"n_components": 96, "max_iter": 20, "batch_size": 128}
    shares = []
    for noise in (0.0, 0.8):
        rows = planted.X + noise * np.random.default_rng(6).standard_normal(planted.X.shape)
        model = icfl.ICFL(**options).fit(rows.astype(np.float32))
        sizes = model.transform(rows.astype(np.float32)).data.astype(np.float64)
        common = model.threshold_.max()
        shares.append(common * sizes.sum() / (sizes @ sizes))
    # Of codes of the last dictionary, not of those that were seen on the way.
    assert shares == pytest.approx(SHARES, rel=0.03)


def test_a_slope_finds_more_than_any_threshold_where_rows_differ_in_noise():
    """The true atoms, codes near 4, and rows of which every third has noise."""
    planted = make_planted(8000, 64, 96, n_active=3, coefficient_mean=4.0, random_state=5)
    noise = np.zeros(planted.X.shape)
    noise[::3] = 1.3 * np.random.default_rng(6).standard_normal(noise[::3].shape)
    X, D = (planted.X + noise).astype(np.float32), planted.components
    active = planted.codes.toarray() != 0

    def f1(threshold, slope):
        options = {"threshold": threshold, "threshold_slope": slope, "selection": "positive"}
        found = icfl.encode_omp(X, D, 12, **options).toarray() != 0
        return np.mean(2.0 * (found & active).sum(axis=0) / (found.sum(0) + active.sum(0)))

    shared = [f1(t, 0.0) for t in np.linspace(1.2, 3.6, 13)]
    assert 0 < int(np.argmax(shared)) < 12
    size, rate = 4.0, 3.0 / 96.0
    slope = (SPREAD - np.log(rate)) / (64 * size)
    apart = [f1(share * size, slope) for share in np.linspace(*SHARES, 5)]
    # 100 active rows or more of each of 96 atoms: F1 of 0.85 has a standard error of 0.005 or less
    # in the mean, and the same rows are behind both.
    assert max(apart) > max(shared) + 0.02


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
