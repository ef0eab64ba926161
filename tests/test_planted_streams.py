"""Planted features drawn sparsely and by streams: what fires, how often, together, and again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import icfl
import icfl.learning.minibatches
from icfl._streams import RowStream
from icfl.datasets import Trees, make_planted, make_synthetic_benchmark
from icfl.exceptions import InputError, InputTypeError
from icfl.metrics import density

N = 60_000


def assert_binomial(observed, expected, n):
    # Five standard deviations, as in test_datasets.py: 6e-7 two-sided a share. Expected counts here
    # are at least 40, where the Poisson tail is within a factor of a few of the normal one. Seeds
    # are fixed.
    deviations = (observed - expected) / np.sqrt(expected * (1 - expected) / n)
    assert np.abs(deviations).max() < 5


def sparse_planted(n_samples=N, n_components=200, **options):
    options = {"n_active": 8, "random_state": 0, **options}
    return make_planted(n_samples, 8, n_components, sampler="sparse", **options)


TREES = Trees(5, branching=3, depth=2)
OPTIONS = [
    {},
    {"zipf_exponent": 1.0, "max_frequency": 0.9},
    {"correlation": 0.5},
    {"correlation": 0.9, "n_factors": 2},
    {"hierarchy": 0.4},
    {"hierarchy": 0.4, "correlation": 0.5},
    {"hierarchy": TREES},
    {"hierarchy": Trees(5, branching=3, depth=2, exclusive=False), "correlation": 0.3},
]


# --- what fires -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS)
def test_features_fire_as_often_as_stated(options):
    planted = sparse_planted(**options)
    # Each of 200 additions rounds once; the thresholds of contexts are solved to 1e-13.
    assert planted.frequency.sum() == pytest.approx(8, rel=1e-12)
    assert_binomial(density(planted.codes), planted.frequency, N)
    given_context = planted.model.firing.given_context
    roots = planted.frequency[planted.parents < 0]
    np.testing.assert_allclose(given_context.mean(axis=0), roots, rtol=1e-12)
    assert planted.codes.has_canonical_format
    assert (planted.codes.data > 0).all()


def test_without_options_features_fire_independently():
    planted = sparse_planted(n_components=64)
    active = (planted.codes[:, :12] != 0).toarray().astype(np.float64)
    p = planted.frequency[:12]
    upper = np.triu_indices(12, k=1)
    assert_binomial((active.T @ active / N)[upper], np.outer(p, p)[upper], N)
    # And samples are independent too: what fires on one says nothing of the next.
    following = active[:-1].T @ active[1:] / (N - 1)
    assert_binomial(following.ravel(), np.outer(p, p).ravel(), N - 1)


def test_correlated_features_cofire_as_the_contexts_say():
    planted = sparse_planted(n_components=64, correlation=0.9, n_factors=4)
    firing, p = planted.model.firing, planted.frequency
    given_context = firing.given_context
    together = given_context.T @ given_context / len(given_context)
    active = (planted.codes != 0).toarray().astype(np.float64)
    upper = tuple(np.array(np.triu_indices(12, k=1)))
    assert_binomial((active.T @ active / N)[upper], together[upper], N)
    # Their sign is that of the latent correlation, where that is not too small for 256 contexts.
    latent = (firing.loadings @ firing.loadings.T)[upper]
    lift = (together / np.outer(p, p))[upper] - 1
    strong = np.abs(latent) > 0.3
    assert (latent[strong] > 0).any()
    assert (latent[strong] < 0).any()
    np.testing.assert_array_equal(np.sign(lift[strong]), np.sign(latent[strong]))
    assert np.corrcoef(latent, lift)[0, 1] > 0.8


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_children_fire_only_with_their_parents(exclusive, correlation):
    trees = Trees(6, branching=4, depth=2, exclusive=exclusive, largest_share=0.9)
    planted = sparse_planted(hierarchy=trees, correlation=correlation)
    parents, p = planted.parents, planted.frequency
    children = np.flatnonzero(parents >= 0)
    assert len(children) == trees.n_components - 6 == 6 * (4 + 16)
    active = (planted.codes != 0).toarray()
    assert not (active[:, children] & ~active[:, parents[children]]).any()
    n_parent = active[:, parents[children]].sum(axis=0)
    assert_binomial(
        active[:, children].sum(axis=0) / n_parent, p[children] / p[parents[children]], n_parent
    )
    siblings = np.flatnonzero(parents == 0)
    number = active[:, siblings].sum(axis=1)
    if exclusive:
        assert number.max() == 1
        for parent in np.unique(parents[children]):
            assert active[:, parents == parent].sum(axis=1).max() == 1
            assert p[parents == parent].sum() <= 0.9 * p[parent] * (1 + 1e-12)
    else:
        own = p[siblings] / p[0]
        pairs = active[:, siblings[0]] & active[:, siblings[1]]
        assert_binomial(pairs[active[:, 0]].mean(), own[0] * own[1], active[:, 0].sum())


@settings(max_examples=40, deadline=None)
@given(
    n_trees=st.integers(1, 5),
    branching=st.integers(1, 4),
    depth=st.integers(1, 3),
    exclusive=st.booleans(),
    share=st.floats(0.05, 0.99),
    seed=st.integers(0, 1000),
)
def test_trees_give_children_the_law_or_what_the_parent_leaves(
    n_trees, branching, depth, exclusive, share, seed
):
    trees = Trees(n_trees, branching, depth, exclusive, share)
    n = trees.n_components + 7
    law = -np.sort(-np.random.default_rng(seed).uniform(0.001, 0.5, n))
    parents, frequency = trees.parents(n), trees.frequencies(law)
    np.testing.assert_array_equal(frequency[parents < 0], law[parents < 0])
    level = np.zeros(n, dtype=int)
    for child in np.flatnonzero(parents >= 0):
        level[child] = level[parents[child]] + 1
    for lower in range(1, depth + 1):
        assert np.count_nonzero(level == lower) == n_trees * branching**lower
    for parent in np.unique(parents[parents >= 0]):
        children = np.flatnonzero(parents == parent)
        assert len(children) == branching
        room = share * frequency[parent]
        if exclusive:
            expected = law[children] * min(1.0, room / law[children].sum())
        else:
            expected = np.minimum(law[children], room)
        np.testing.assert_allclose(frequency[children], expected, rtol=1e-12)


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["dense", "sparse"])
def test_every_feature_has_its_own_values(sampler):
    mean, sd = np.linspace(3, 1, 40), np.linspace(0, 0.2, 40)
    planted = make_planted(
        20_000, 8, 40, n_active=8, coefficient_mean=mean, coefficient_sd=sd, sampler=sampler,
        random_state=0,
    )  # fmt: skip
    codes = planted.codes.tocsc()
    for j in range(40):
        values = codes.data[codes.indptr[j] : codes.indptr[j + 1]].astype(np.float64)
        # float32 rounds each value by up to 6e-8 of itself.
        allowed = 5 * sd[j] / np.sqrt(len(values)) + 1e-7 * mean[j]
        assert abs(values.mean() - mean[j]) < allowed
        # The sd of an estimated sd is sd / sqrt(2 n).
        assert abs(values.std() - sd[j]) < 5 * sd[j] / np.sqrt(2 * len(values)) + 1e-6


def test_children_in_proportion_to_their_parents():
    trees = Trees(3, branching=2, depth=3, scale_by_parent=True)
    mean = np.linspace(2.0, 1.0, 60)
    sd = np.where(trees.parents(60) >= 0, 0.0, 0.3)  # all that varies is inherited
    planted = sparse_planted(
        5000, 60, hierarchy=trees, coefficient_mean=mean, coefficient_sd=sd, n_active=6
    )
    values = planted.codes.toarray().astype(np.float64) / mean
    for child in np.flatnonzero(planted.parents >= 0):
        rows = np.flatnonzero(values[:, child])
        # Three roundings on the way of either.
        np.testing.assert_allclose(
            values[rows, child], values[rows, planted.parents[child]], rtol=8 * 2.0**-24
        )
    assert values[values > 0].std() > 0.1


def test_samples_are_codes_times_atoms_plus_noise():
    planted = sparse_planted(4000, 64, noise=0.0)
    exact = planted.codes.astype(np.float64) @ planted.components.astype(np.float64)
    # About 8 float32 products and additions of numbers of size 1.
    np.testing.assert_allclose(planted.X, exact, atol=64 * 2.0**-24)
    noisy = sparse_planted(4000, 64, noise=0.5)
    noise = noisy.X - noisy.codes @ noisy.components
    assert np.mean(noise.astype(np.float64) ** 2) == pytest.approx(0.25, rel=5 * np.sqrt(2 / 32000))


# --- streams ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return sparse_planted(1, 100, hierarchy=TREES, correlation=0.3, n_active=6).model


def assert_same(first, second):
    np.testing.assert_array_equal(first.X, second.X)
    assert (first.codes != second.codes).nnz == 0


def test_chunks_do_not_depend_on_what_was_drawn_before(model):
    stream = model.stream(1000, chunk_size=300, random_state=5)
    ahead = [stream.chunk(i) for i in range(4)]
    assert [len(chunk.X) for chunk in ahead] == [300, 300, 300, 100]
    again = model.stream(1000, chunk_size=300, random_state=5, n_jobs=2)
    for i in (3, 0, 2, 1, 0):
        assert_same(again.chunk(i), ahead[i])
    longer = model.stream(5000, chunk_size=300, random_state=5, n_jobs=1)
    assert_same(longer.head(1000).chunk(3), ahead[3])
    np.testing.assert_array_equal(longer.chunk(3).X[:100], ahead[3].X)
    X = np.concatenate([chunk.X for chunk in ahead])
    assert len(np.unique(X, axis=0)) == 1000
    other = model.stream(1000, chunk_size=300, random_state=6).chunk(0)
    assert (other.X != ahead[0].X).any()
    for chunk in ahead:
        exact = chunk.codes @ model.components
        assert np.abs(chunk.X - exact).max() < 6 * model.noise  # 8,000 normals


@settings(max_examples=30, deadline=None)
@given(start=st.integers(0, 700), length=st.integers(0, 700))
def test_spans_are_those_of_the_whole(model, start, length):
    stream = model.stream(700, chunk_size=97, random_state=1)
    whole = np.concatenate([chunk.X for chunk in stream.chunks()])
    np.testing.assert_array_equal(stream[start : start + length], whole[start : start + length])
    np.testing.assert_array_equal(np.asarray(stream.head(200)), whole[:200])
    assert stream.shape == whole.shape
    assert len(stream) == 700


def test_a_dense_model_streams_too():
    model = make_planted(1, 8, 32, n_active=3, random_state=0).model
    chunks = list(model.stream(2500, chunk_size=1000, random_state=3).chunks())
    codes = sparse.vstack([chunk.codes for chunk in chunks])
    assert codes.shape == (2500, 32)
    assert_binomial(density(codes), model.firing.frequency, 2500)


class Recorded(RowStream):
    """Rows of an array, and what was asked of them."""

    def __init__(self, X):
        self.X, self.spans = X, []

    @property
    def shape(self):
        return self.X.shape

    def read(self, start, stop):
        self.spans.append((start, stop))
        return self.X[start:stop]

    def head(self, n_samples):
        return Recorded(self.X[:n_samples])


LEARNERS = [
    lambda **o: icfl.ICFL(24, n_iterations=3, atoms_per_iteration=1, batch_size=128, **o),
    lambda **o: icfl.TopKSAE(24, n_nonzero=4, batch_size=128, **o),
]


@pytest.mark.parametrize("learner", LEARNERS)
def test_partial_fit_of_a_stream_is_that_of_its_rows(model, learner):
    stream = model.stream(1000, chunk_size=300, random_state=5)
    first = learner(random_state=0).partial_fit(stream).partial_fit(stream)
    second = learner(random_state=0).partial_fit(stream[:]).partial_fit(stream[:])
    np.testing.assert_array_equal(first.components_, second.components_)
    np.testing.assert_array_equal(first.bias_, second.bias_)


@pytest.mark.parametrize("learner", LEARNERS)
def test_fit_reads_a_stream_in_order_and_in_spans(model, learner):
    X = model.stream(1000, chunk_size=300, random_state=5)[:]
    recorded = Recorded(X)
    found = learner(random_state=0, max_iter=2).fit(recorded)
    steps = [span for span in recorded.spans[-16:] if span[1] - span[0] > 1]
    assert [s for s, _ in steps] == [i * 1000 // 8 for i in range(8)] * 2
    assert [e for _, e in steps] == [(i + 1) * 1000 // 8 for i in range(8)] * 2
    again = learner(random_state=0, max_iter=2, n_jobs=2).fit(
        model.stream(1000, chunk_size=300, random_state=5, n_jobs=2)
    )
    np.testing.assert_array_equal(again.components_, found.components_)
    assert again.n_samples_seen_ == 2000


def test_streams_are_learnt_from_on_pytorch_too(model):
    pytest.importorskip("torch")
    stream = model.stream(1000, chunk_size=300, random_state=5)
    options = {"n_nonzero": 4, "batch_size": 128, "random_state": 0, "backend": "torch"}
    whole = icfl.TopKSAE(24, max_iter=1, **options).fit(stream)
    assert whole.n_samples_seen_ == 1000
    first, second = (icfl.TopKSAE(24, **options).partial_fit(X) for X in (stream, stream[:]))
    np.testing.assert_array_equal(first.components_, second.components_)


def test_held_back_rows_of_a_stream_are_not_learnt_from(model):
    X = model.stream(1000, chunk_size=300, random_state=5)[:]
    recorded = Recorded(X)
    learner = LEARNERS[0](random_state=0, max_iter=1, tol=0.0, validation_fraction=0.2)
    learner.fit(recorded)
    assert (0, 200) in recorded.spans
    steps = [span for span in recorded.spans if span[0] >= 200]
    assert (steps[0][0], steps[-1][1]) == (200, 1000)
    assert learner.n_samples_seen_ == 800
    assert "validation" in " ".join(learner.history_[-1])


def test_a_stream_is_resumed_to_the_same_bits(model, tmp_path):
    stream = model.stream(1500, chunk_size=300, random_state=5)
    options = {"random_state": 0, "max_iter": 2}
    whole = LEARNERS[0](**options).fit(stream)
    path = tmp_path / "run.safetensors"

    def stop(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    learner = LEARNERS[0](checkpoint=path, **options)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(stream, callback=stop)
    again = LEARNERS[0](checkpoint=path, **options).fit(stream, resume=True)
    np.testing.assert_array_equal(again.components_, whole.components_)


def test_first_atoms_come_from_the_first_rows(model, monkeypatch):
    monkeypatch.setattr("icfl.learning.minibatches.SURVEYED", 700)
    monkeypatch.setattr("icfl.learning.minibatches.CHUNK_ROWS", 50)
    recorded = Recorded(model.stream(2000, chunk_size=300, random_state=5)[:])
    options = {"random_state": 0, "max_steps": 1, "max_iter": None}
    learner = LEARNERS[0](**options).fit(recorded)
    assert max(stop for _, stop in recorded.spans) <= 750
    # Rows within reach are drawn as from an array of that length.
    rows = icfl.learning.minibatches.TrainingRows(recorded, False, 1)
    chosen = np.array([3, 4, 60, 61, 333, 699])
    np.testing.assert_array_equal(rows.take(chosen), recorded.X[chosen])
    np.testing.assert_array_equal(rows.sample(7), recorded.X[np.arange(7) * 100])
    assert len(learner.components_) == 24


def test_a_value_that_is_not_finite_is_found_when_its_turn_comes(model, monkeypatch):
    X = model.stream(1000, chunk_size=300, random_state=5)[:].copy()
    X[900, 3] = np.nan
    monkeypatch.setattr("icfl.learning.minibatches.SURVEYED", 500)
    with pytest.raises(InputError, match="row 900, column 3"):
        LEARNERS[0](random_state=0, max_iter=1).fit(Recorded(X))


def test_streams_have_a_width(model):
    learner = LEARNERS[0](random_state=0).partial_fit(model.stream(300, random_state=0))
    with pytest.raises(InputError, match="8 features"):
        learner.partial_fit(Recorded(np.ones((10, 5), dtype=np.float32)))


def test_what_a_stream_is_not_for(model):
    stream = model.stream(1000, chunk_size=300, random_state=5)
    with pytest.raises(InputTypeError, match="spans of rows"):
        stream[3]
    with pytest.raises(InputTypeError, match="spans of rows"):
        stream[::2]
    with pytest.raises(InputError, match="i must be below 4"):
        stream.chunk(4)
    with pytest.raises(InputError, match="i must be"):
        stream.chunk(-1)
    with pytest.raises(InputError, match="n_samples"):
        model.stream(0)
    with pytest.raises(InputError, match="chunk_size"):
        model.stream(10, chunk_size=0)
    with pytest.raises(InputError, match="n_jobs"):
        model.stream(10, n_jobs=0)


# --- the benchmark ----------------------------------------------------------------------------


def test_the_full_benchmark_has_its_size_and_law():
    full = make_synthetic_benchmark()
    firing = full.model.firing
    assert full.model.components.shape == (16_384, 768)
    assert full.n_latents == 4096
    p, parents = firing.frequency, firing.parents
    assert np.count_nonzero(parents >= 0) == 128 * (4 + 16 + 64)
    assert p[0] == pytest.approx(0.4)
    assert p[-1] == pytest.approx(5e-4)
    assert p.sum() == pytest.approx(31, abs=0.5)
    chunk = full.train(10**8, n_jobs=1).chunk(12_206)
    assert chunk.X.shape == (8192, 768)
    # The number of active features of a sample varies by less than their mean's square root twice.
    assert chunk.codes.nnz / 8192 == pytest.approx(p.sum(), abs=5 * 2 * np.sqrt(31 / 8192))


def test_a_tenth_is_every_tenth_feature():
    tenth, full = make_synthetic_benchmark("tenth"), make_synthetic_benchmark()
    assert tenth.model.components.shape == (1638, 77)
    assert tenth.n_latents == 410
    roots = tenth.model.firing.frequency[:13]
    # Rank r of a tenth stands for rank 10 r - 4.5 of all; p falls in between.
    ranks = 10 * np.arange(1, 14) - 4.5
    assert (roots <= full.model.firing.frequency[np.floor(ranks).astype(int) - 1]).all()
    assert (roots[:12] >= full.model.firing.frequency[np.ceil(ranks[:12]).astype(int) - 1]).all()
    assert tenth.model.firing.frequency.sum() == pytest.approx(3.1, abs=0.05)
    train, test = tenth.train(3000), tenth.test(3000)
    both = np.concatenate([train[:], test[:]])
    fired = np.abs(both).sum(axis=1) > 0  # without noise, a sample may be zero
    assert len(np.unique(both[fired], axis=0)) == fired.sum()
    np.testing.assert_array_equal(train[:], tenth.train(9000)[:3000])
    wide = make_synthetic_benchmark(0.1, n_features=128, noise=0.1)
    assert wide.train(10)[:].shape == (10, 128)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": "half"}, InputError, "scale"),
        ({"scale": 0.001}, InputError, "scale"),
        ({"correlation": 1.0}, InputError, "correlation"),
        ({"noise": -1}, InputError, "noise"),
        ({"n_features": 0}, InputError, "n_features"),
        ({"exclusive": 1}, InputTypeError, "exclusive"),
        ({"random_state": "a"}, InputTypeError, "random_state"),
    ],
)
def test_bad_options_of_the_benchmark(options, error, message):
    with pytest.raises(error, match=message):
        make_synthetic_benchmark(**{"scale": "tenth", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hierarchy": TREES, "sampler": "dense"}, "needs sampler='sparse'"),
        ({"sampler": "fast"}, "sampler"),
        ({"hierarchy": Trees(0)}, "n_trees"),
        ({"hierarchy": Trees(1, depth=0)}, "depth"),
        ({"hierarchy": Trees(1, largest_share=1.0)}, "largest_share"),
        ({"hierarchy": Trees(10)}, "hierarchy takes 850 features"),
        ({"hierarchy": TREES, "n_active": 60}, "n_active must be at most"),
        ({"n_factors": 0, "correlation": 0.5}, "n_factors"),
        ({"coefficient_mean": np.ones(3)}, "coefficient_mean must have shape"),
        ({"coefficient_mean": np.zeros(100)}, "coefficient_mean must be finite and above 0"),
        ({"coefficient_sd": np.full(100, np.nan)}, "coefficient_sd must be finite"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        make_planted(
            10, 8, 100, **{"sampler": "sparse", "n_active": 5, "random_state": 0} | options
        )
