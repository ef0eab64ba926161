"""Time training steps, decoding and the model file."""

from __future__ import annotations

import pytest

import icfl


@pytest.fixture(scope="module", params=["online", "adam"])
def model(request, problem):
    learner = icfl.ICFL(
        len(problem.components), n_iterations=10, update=request.param, random_state=0
    )
    return learner.partial_fit(problem.X)


def test_step(benchmark, problem, model):
    before = model.n_steps_
    benchmark(model.partial_fit, problem.X)
    assert model.n_steps_ > before


def test_inverse_transform(benchmark, problem, model):
    Z = model.transform(problem.X)
    assert benchmark(model.inverse_transform, Z).shape == problem.X.shape


def test_save(benchmark, tmp_path, model):
    benchmark(model.save, tmp_path / "model.safetensors")


def test_load(benchmark, tmp_path, model):
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert benchmark(icfl.load, path).n_steps_ == model.n_steps_
