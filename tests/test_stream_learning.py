"""Learners fitted to streams: what is read when, and the same bits as from an array."""

from __future__ import annotations

import numpy as np
import pytest

import icfl
import icfl.learning.minibatches
from icfl._streams import RowStream
from icfl.exceptions import InputError
from planted_samples import streamed_model


@pytest.fixture(scope="module")
def model():
    return streamed_model()


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
