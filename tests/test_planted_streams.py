"""Streams of planted samples: the same rows, in whatever pieces and order they are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from icfl.datasets import make_planted
from icfl.exceptions import InputError, InputTypeError
from icfl.metrics import density
from planted_samples import assert_binomial, streamed_model


@pytest.fixture(scope="module")
def model():
    return streamed_model()


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
