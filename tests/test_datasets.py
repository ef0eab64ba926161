"""The shipped screen, and whether planted data have the properties they promise."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from icfl.datasets import load_cell_lines, make_planted
from icfl.exceptions import InputError, InputTypeError
from icfl.metrics import density, dictionary_similarity

N = 40_000


def z_scores(observed_share, expected_share, n):
    """Deviations of binomial shares in standard deviations."""
    return (observed_share - expected_share) / np.sqrt(expected_share * (1 - expected_share) / n)


def assert_binomial(observed, expected, n):
    # Five standard deviations: 6e-7 per share two-sided, below 1e-3 for the thousand looked at.
    # Seeds are fixed, so this passes or fails once and for all.
    assert np.abs(z_scores(observed, expected, n)).max() < 5


# --- the screen -------------------------------------------------------------------------------


def test_cell_lines_are_what_their_description_says():
    screen = load_cell_lines()
    assert screen.data.shape == (1298, 139)
    assert screen.data.dtype == np.float32
    assert np.isfinite(screen.data).all()
    assert (screen.data.std(axis=0) > 0).all()
    assert len(set(screen.feature_names)) == 139
    assert screen.control.dtype == bool
    assert screen.control.sum() == 174
    assert set(screen.labels.cell_type[screen.control]) == {"U2-OS"}
    assert set(screen.labels.plate[screen.control]) == set(screen.labels.plate)
    counts = {name: len(np.unique(column)) for name, column in screen.labels.items()}
    assert counts == {
        "cell_type": 14,
        "cell_line": 17,
        "perturbation": 3,
        "plate": 6,
        "batch": 2,
        "well": 240,
        "time_point": 3,
        "seeding_density": 5,
        "condition": 2,
        "is_genetic_control": 2,
    }
    names, sizes = np.unique(screen.labels.perturbation, return_counts=True)
    assert dict(zip(names.tolist(), sizes.tolist(), strict=True)) == {
        "none": 992,
        "1020": 186,
        "EV": 120,
    }


def test_cell_lines_name_source_and_licence():
    screen = load_cell_lines()
    assert screen.meta["license"] == "CC0-1.0"
    assert screen.meta["source"] in screen.DESCR
    assert screen.meta["commit"] in screen.DESCR


def test_cell_lines_as_frames():
    pytest.importorskip("pandas")
    plain, frames = load_cell_lines(), load_cell_lines(as_frame=True)
    assert frames.data.columns.tolist() == plain.feature_names.tolist()
    np.testing.assert_array_equal(frames.data.to_numpy(), plain.data)
    np.testing.assert_array_equal(frames.labels["plate"].to_numpy(), plain.labels.plate)


def test_shipped_data_leave_the_wheel_small():
    folder = resources.files("icfl.datasets") / "data"
    size = sum(len(file.read_bytes()) for file in folder.iterdir())
    assert size < 1_000_000  # of the 10 MB that a wheel may have


# --- planted data -----------------------------------------------------------------------------


def test_planted_data_are_codes_times_atoms_plus_noise():
    planted = make_planted(N, 64, 256, noise=0.05, random_state=0)
    assert planted.X.shape == (N, 64)
    assert planted.X.dtype == planted.codes.dtype == planted.components.dtype == np.float32
    assert planted.codes.shape == (N, 256)
    assert planted.codes.has_sorted_indices
    assert (planted.codes.data > 0).all()
    np.testing.assert_allclose(np.linalg.norm(planted.components, axis=1), 1.0, atol=1e-6)
    noise = planted.X - planted.codes @ planted.components
    # Mean square of N * 64 normals: relative standard deviation sqrt(2 / (N * 64)) = 9e-4.
    assert np.mean(noise.astype(np.float64) ** 2) == pytest.approx(0.05**2, rel=5e-3)
    assert np.abs(noise.mean(axis=0)).max() < 5 * 0.05 / np.sqrt(N)


def test_noise_of_zero_is_exact():
    planted = make_planted(100, 16, 32, n_active=3, noise=0.0, random_state=0)
    np.testing.assert_array_equal(planted.X, planted.codes @ planted.components)


@settings(max_examples=50, deadline=None)
@given(
    n_components=st.integers(1, 400),
    share=st.floats(0.01, 1.0),
    exponent=st.floats(0.0, 3.0),
    cap=st.floats(0.05, 1.0),
)
def test_frequencies_are_capped_zipf_with_the_asked_sum(n_components, share, exponent, cap):
    n_active = share * cap * n_components
    planted = make_planted(
        1,
        2,
        n_components,
        n_active=n_active,
        zipf_exponent=exponent,
        max_frequency=cap,
        random_state=0,
    )
    p = planted.frequency
    # Each of n_components additions rounds once.
    assert p.sum() == pytest.approx(n_active, rel=4e-16 * (n_components + 16))
    assert (p <= cap).all()
    assert (np.diff(p) <= 0).all()
    free = p < cap * (1 - 1e-9)
    scaled = (p * np.arange(1, n_components + 1) ** exponent)[free]
    np.testing.assert_allclose(scaled, scaled[:1].repeat(len(scaled)), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"zipf_exponent": 0.0},
        {"correlation": 0.6},
        {"hierarchy": 0.5},
        {"correlation": 0.6, "hierarchy": 0.4},
    ],
)
def test_features_fire_as_often_as_stated(options):
    planted = make_planted(N, 8, 256, random_state=1, **options)
    assert_binomial(density(planted.codes), planted.frequency, N)


def test_without_options_features_fire_independently():
    planted = make_planted(N, 8, 64, n_active=8, random_state=2)
    assert (planted.parents == -1).all()
    active = (planted.codes[:, :12] != 0).toarray().astype(np.float64)
    p = planted.frequency[:12]
    upper = np.triu_indices(12, k=1)
    assert_binomial((active.T @ active / N)[upper], np.outer(p, p)[upper], N)


def test_correlated_features_cofire_as_the_copula_says():
    planted = make_planted(N, 8, 64, n_active=8, correlation=0.9, random_state=3)
    loadings, p = planted.model.firing.loadings, planted.frequency
    latent = loadings @ loadings.T
    np.testing.assert_allclose(np.diag(latent), 0.9)
    active = (planted.codes != 0).toarray().astype(np.float64)
    together = active.T @ active / N
    pairs = [(i, j) for i in range(8) for j in range(i)]
    latent_pairs = np.array([latent[i, j] for i, j in pairs])
    assert latent_pairs.max() > 0.3
    assert latent_pairs.min() < -0.3
    threshold = norm.isf(p)
    expected = [
        # P(g_i > t_i, g_j > t_j), by symmetry the distribution function at (-t_i, -t_j).
        multivariate_normal([0, 0], [[1, latent[i, j]], [latent[i, j], 1]]).cdf(
            [-threshold[i], -threshold[j]]
        )
        for i, j in pairs
    ]
    assert_binomial(np.array([together[i, j] for i, j in pairs]), np.array(expected), N)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_children_fire_only_with_their_parents(correlation):
    planted = make_planted(N, 8, 128, hierarchy=0.5, correlation=correlation, random_state=4)
    children = np.flatnonzero(planted.parents >= 0)
    parents = planted.parents[children]
    assert len(children) == 64
    assert len(set(parents.tolist())) > 3
    assert (planted.parents[parents] == -1).all()
    assert (planted.frequency[parents] >= 2 * planted.frequency[children]).all()
    active = (planted.codes != 0).toarray()
    assert not (active[:, children] & ~active[:, parents]).any()
    # Among the parent's samples the child fires at p_child / p_parent.
    shares = active[:, children].sum(axis=0) / active[:, parents].sum(axis=0)
    expected = planted.frequency[children] / planted.frequency[parents]
    assert_binomial(shares, expected, active[:, parents].sum(axis=0))


def test_coefficients_follow_the_positive_part_of_a_normal():
    planted = make_planted(
        N, 4, 16, n_active=4, coefficient_mean=0.2, coefficient_sd=1.0, random_state=5
    )
    values = planted.codes.data.astype(np.float64)
    assert (values > 0).all()
    # Mean of N(m, s^2) given > 0 is m + s phi(a) / Phi(a) with a = m / s.
    expected = 0.2 + norm.pdf(0.2) / norm.cdf(0.2)
    assert values.mean() == pytest.approx(expected, abs=5 * values.std() / np.sqrt(len(values)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_seed_gives_the_same_bits(seed):
    options = {"n_active": 3, "correlation": 0.3, "hierarchy": 0.2}
    first, second = (make_planted(300, 8, 32, random_state=seed, **options) for _ in range(2))
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.codes.indices, second.codes.indices)
    np.testing.assert_array_equal(first.parents, second.parents)
    other = make_planted(300, 8, 32, random_state=seed + 1, **options)
    assert (first.X != other.X).any()


def test_generators_are_used_and_random_states_accepted():
    rng = np.random.default_rng(0)
    first, second = (make_planted(50, 4, 8, n_active=2, random_state=rng) for _ in range(2))
    assert (first.X != second.X).any()
    same = [
        make_planted(50, 4, 8, n_active=2, random_state=np.random.RandomState(3)) for _ in range(2)
    ]
    np.testing.assert_array_equal(same[0].X, same[1].X)


def test_fresh_samples_share_the_dictionary_and_nothing_else():
    train = make_planted(500, 16, 64, hierarchy=0.3, random_state=0)
    test = train.model.sample(500, random_state=1)
    assert test.components is train.components
    np.testing.assert_array_equal(test.parents, train.parents)
    assert (test.X != train.X).any(axis=1).all()
    np.testing.assert_array_equal(test.X, train.model.sample(500, random_state=1).X)


def test_batches_stream_distinct_samples():
    model = make_planted(1, 8, 32, n_active=3, random_state=0).model
    batches = list(model.batches(250, batch_size=100, random_state=7))
    assert [len(batch.X) for batch in batches] == [100, 100, 50]
    X = np.vstack([batch.X for batch in batches])
    assert len(np.unique(X, axis=0)) == 250
    again = np.vstack([b.X for b in model.batches(250, batch_size=100, random_state=7)])
    np.testing.assert_array_equal(X, again)


def test_given_components_are_used_at_unit_norm():
    atoms = np.random.default_rng(0).normal(size=(40, 12)) * 7
    planted = make_planted(20, components=atoms, n_active=3, random_state=0)
    assert planted.X.shape == (20, 12)
    assert dictionary_similarity(planted.components, atoms) == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(planted.components, axis=1), 1.0, atol=1e-6)


def test_default_atoms_are_spread_over_the_sphere():
    atoms = make_planted(1, 64, 512, random_state=0).components.astype(np.float64)
    # Second moment of a uniform direction is I / d, each entry with a sd below sqrt(2 / M) / d.
    moment = atoms.T @ atoms / 512
    assert np.abs(moment - np.eye(64) / 64).max() < 5 * np.sqrt(2 / 512) / 64


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_samples": 0}, InputError, "n_samples"),
        ({"n_samples": 2.5}, InputTypeError, "n_samples"),
        ({"n_components": 0}, InputError, "n_components"),
        ({"n_active": 0}, InputError, "n_active"),
        ({"n_active": 300}, InputError, "at most n_components"),
        ({"zipf_exponent": -1}, InputError, "zipf_exponent"),
        ({"max_frequency": 1.5}, InputError, "max_frequency"),
        ({"noise": -0.1}, InputError, "noise"),
        ({"noise": np.nan}, InputError, "noise"),
        ({"coefficient_mean": 0}, InputError, "coefficient_mean"),
        ({"correlation": 1.0}, InputError, "correlation"),
        ({"hierarchy": 1.0}, InputError, "hierarchy"),
        ({"hierarchy": 0.5, "zipf_exponent": 0.0}, InputError, "hierarchy asks for"),
        ({"components": np.zeros((20, 3))}, InputError, "components"),
        ({"components": np.full((20, 3), np.nan)}, InputError, "components"),
        ({"random_state": -1}, InputError, "random_state"),
        ({"random_state": "0"}, InputTypeError, "random_state"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        make_planted(**({"n_samples": 10} | options))
