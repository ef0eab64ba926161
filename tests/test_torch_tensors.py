"""Tensors in, tensors out: the same numbers as of arrays, on the device they came on."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

import icfl
from icfl.autoencoders import (
    AbsTopKSAE,
    BatchTopKSAE,
    JumpReLUSAE,
    MatchingPursuitSAE,
    MatryoshkaSAE,
    TopKSAE,
)
from icfl.exceptions import InputError, InputScaleWarning, InputTypeError
from icfl.torch import TorchBackend, encoding
from icfl.torch import model as device_model
from icfl.torch import rows as tensor_rows
from icfl.torch.rows import prepare_tensor
from training_runs import OPTIONS, bits, planted

torch.set_num_threads(1)

AUTOENCODERS = (
    AbsTopKSAE,
    BatchTopKSAE,
    JumpReLUSAE,
    MatchingPursuitSAE,
    MatryoshkaSAE,
    TopKSAE,
)
SAE_OPTIONS = {
    "n_components": 20,
    "n_nonzero": 3,
    "learning_rate": 3e-3,
    "batch_size": 50,
    "max_iter": 2,
    "random_state": 3,
}


def learner(kind, **options):
    if kind is icfl.ICFL:
        return icfl.ICFL(**OPTIONS | options)
    return kind(**SAE_OPTIONS | options)


LEARNERS = pytest.mark.parametrize(
    "kind", [icfl.ICFL, *AUTOENCODERS], ids=lambda kind: kind.__name__
)


@pytest.fixture(scope="module", name="X")
def rows():
    return 7 * planted()


@LEARNERS
@pytest.mark.parametrize("unit_norm", [True, False])
def test_a_tensor_is_learnt_from_as_an_array(kind, unit_norm, X):
    options = {"backend": "torch", "unit_norm_inputs": unit_norm}
    model = learner(kind, **options).fit(torch.from_numpy(X))
    expected = learner(kind, **options).fit(X)
    # Rows are scaled in float64 there, in float32 here; Adam may turn that into a step of 3e-3.
    assert np.abs(model.components_ - expected.components_).mean() < 1e-4
    assert model.input_norm_ == pytest.approx(expected.input_norm_, rel=1e-6)
    assert model.input_scale_ == pytest.approx(expected.input_scale_, rel=1e-6)
    assert model.n_features_in_ == 10
    assert model.components_.dtype == np.float32
    assert type(model.components_) is np.ndarray
    values = [entry["explained_variance"] for entry in model.history_]
    assert values == pytest.approx(
        [entry["explained_variance"] for entry in expected.history_], abs=1e-3
    )


@LEARNERS
@pytest.mark.parametrize("unit_norm", [True, False])
def test_what_comes_out_is_what_arrays_give(kind, unit_norm, X):
    model = learner(kind, backend="torch", unit_norm_inputs=unit_norm).fit(X)
    x = torch.from_numpy(X)
    Z, expected = model.transform(x), model.transform(X)
    assert isinstance(expected, csr_array)
    assert Z.layout == torch.sparse_csr
    assert (Z.dtype, Z.device, tuple(Z.shape)) == (torch.float32, x.device, expected.shape)
    np.testing.assert_allclose(Z.to_dense(), expected.toarray(), rtol=0, atol=1e-4)
    dense = model.set_params(sparse_output=False).transform(x)
    torch.testing.assert_close(dense, Z.to_dense())
    for codes in (Z, dense, dense.to(torch.float64)):
        decoded = model.inverse_transform(codes)
        np.testing.assert_allclose(
            decoded, model.inverse_transform(Z.to_dense().numpy()), rtol=0, atol=1e-5
        )
    np.testing.assert_allclose(model.reconstruct(x), model.reconstruct(X), rtol=0, atol=1e-3)
    assert model.score(x) == pytest.approx(model.score(X), abs=1e-5)


@LEARNERS
def test_on_a_named_device_arrays_give_arrays(kind, X, monkeypatch):
    """Where arrays go to the device of the backend; the CPU stands in for it."""
    model = learner(kind, backend="torch").fit(X)
    expected = model.transform(X), model.reconstruct(X), model.score(X)
    decoded = model.inverse_transform(expected[0])
    monkeypatch.setattr("icfl.learning.learner.on_accelerator", lambda _: True)
    Z = model.transform(X)
    assert isinstance(Z, csr_array)
    assert Z.has_sorted_indices
    np.testing.assert_allclose(Z.toarray(), expected[0].toarray(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.inverse_transform(Z), decoded, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.inverse_transform(Z.toarray()), decoded, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(X), expected[1], rtol=0, atol=1e-4)
    assert model.score(X) == pytest.approx(expected[2], abs=1e-6)
    dense = model.set_params(sparse_output=False).transform(X)
    assert type(dense) is np.ndarray
    np.testing.assert_array_equal(dense, Z.toarray())


def test_changed_components_are_seen(X):
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(X)
    before = model.transform(torch.from_numpy(X)).to_dense()
    model.components_ = model.components_[::-1].copy()
    after = model.transform(torch.from_numpy(X)).to_dense()
    torch.testing.assert_close(after, before.flip(1), rtol=0, atol=1e-4)


def test_partial_fit_takes_tensors(X):
    x = torch.from_numpy(X)
    options = OPTIONS | {"init": np.eye(10), "n_components": "auto", "backend": "torch"}
    whole = icfl.ICFL(**options).partial_fit(x[:200]).partial_fit(x[200:])
    pieces = icfl.ICFL(**options).partial_fit(x[:200])
    for block in (x[200:250], x[250:300], x[300:]):
        pieces.partial_fit(block)
    assert bits(whole)[:3] == bits(pieces)[:3]
    assert whole.n_steps_ == 9
    with pytest.raises(InputError, match="10 features"):
        whole.partial_fit(x[:, :9])


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int64]
)
def test_any_real_type_is_taken(dtype, X):
    x = (torch.from_numpy(X) * 3).to(dtype)
    plain = x.to(torch.float64).numpy()
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(x)
    expected = icfl.ICFL(**OPTIONS, backend="torch").fit(plain)
    np.testing.assert_allclose(model.components_, expected.components_, rtol=0, atol=1e-3)
    assert model.score(x) == pytest.approx(model.score(plain), abs=1e-5)


def test_gradients_and_strides_do_not_matter(X):
    x = torch.from_numpy(X)
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(x)
    for other in (x.clone().requires_grad_(), x.repeat_interleave(2, 1)[:, ::2], x.T.clone().T):
        assert bits(icfl.ICFL(**OPTIONS, backend="torch").fit(other)) == bits(model)
        torch.testing.assert_close(model.transform(other).to_dense(), model.transform(x).to_dense())


def test_rows_are_prepared_as_arrays_are(X):
    x = torch.from_numpy(X).clone()
    x[3] = 0
    rows, norms = prepare_tensor(x, True, scale=2.0)
    assert torch.all(rows[3] == 0)
    np.testing.assert_allclose(rows[4:].norm(dim=1), 2, rtol=1e-6)
    np.testing.assert_allclose(norms, np.linalg.norm(x.numpy().astype(float), axis=1), rtol=1e-12)
    large, _ = prepare_tensor(torch.full((1, 400), 9e17), True)
    np.testing.assert_allclose(large, 0.05, rtol=1e-6)  # its squares are beyond float32


def test_parts_of_a_long_tensor(X, monkeypatch):
    x = torch.from_numpy(X)
    whole = icfl.ICFL(**OPTIONS, backend="torch").fit(x)
    expected = whole.transform(x).to_dense()
    monkeypatch.setattr(tensor_rows, "CHUNK_ROWS", 64)
    monkeypatch.setattr("icfl.torch.model.CHUNK_ROWS", 64)
    parts = icfl.ICFL(**OPTIONS, backend="torch").fit(x)
    np.testing.assert_allclose(parts.components_, whole.components_, rtol=0, atol=1e-5)
    Z = whole.transform(x)
    torch.testing.assert_close(Z.to_dense(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(whole.inverse_transform(Z), whole.inverse_transform(expected))


@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "reconstruct", "score"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[0], r"X must have shape .* got \(10,\)"),
        (lambda x: x[:0], r"X must have shape .* got \(0, 10\)"),
        (lambda x: x.index_fill(0, torch.tensor([7]), torch.nan), "row 7, column 0"),
        (lambda x: x.index_fill(1, torch.tensor([2]), torch.inf), "row 0, column 2"),
        (lambda x: x * 1e20, "too large for float32 at row 0"),
        (lambda x: x.to(torch.complex64), "complex64"),
        (lambda x: x.to_sparse(), "sparse_coo"),
        (lambda x: x.to("meta"), "on 'meta'"),
    ],
)
def test_bad_tensors_are_refused(method, change, message, X):
    x = torch.from_numpy(X)
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(x)
    with pytest.raises((InputError, InputTypeError), match=message):
        getattr(model, method)(change(x))


def test_bad_codes_are_refused(X):
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(X)
    with pytest.raises(InputError, match=r"Z must have shape \(n_samples, 20\), got \(3, 4\)"):
        model.inverse_transform(torch.zeros(3, 4))
    with pytest.raises(InputError, match="NaN"):
        model.inverse_transform(torch.full((3, 20), torch.nan))
    with pytest.raises(InputTypeError, match="complex64"):
        model.inverse_transform(torch.zeros(3, 20, dtype=torch.complex64))
    with pytest.raises(InputTypeError, match="on 'meta'"):
        model.inverse_transform(torch.zeros(3, 20, device="meta"))
    with pytest.raises(InputTypeError, match="sparse_bsr"):
        model.inverse_transform(torch.ones(4, 20).to_sparse_bsr((2, 2)))
    for column in (-1, 20):
        parts = [torch.tensor(part) for part in ([0, 1], [column], [1.0])]
        outside = torch.sparse_csr_tensor(*parts, (1, 20), check_invariants=False)
        with pytest.raises(InputError, match="Z must have columns of 0 to 19"):
            model.inverse_transform(outside)


@LEARNERS
@pytest.mark.parametrize(
    "mode",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_modes_of_the_caller_change_nothing(kind, mode, X):
    """Activations are made inside such modes, and often used there."""
    x = torch.from_numpy(X)

    def results(model):
        Z = model.transform(x)
        again = model.inverse_transform(Z), model.reconstruct(x)
        return [bits(model), model.score(x), *(t.tolist() for t in (Z.to_dense(), *again))]

    expected = results(learner(kind, backend="torch").fit(x).partial_fit(x))
    with mode():
        begun = learner(kind, backend="torch").fit(x.clone())
        assert results(begun.partial_fit(x)) == expected
    # And what began there goes on elsewhere.
    with mode():
        begun = learner(kind, backend="torch").fit(x)
    assert results(begun.partial_fit(x)) == expected


def test_gradients_stay_enabled_while_codes_wait(X):
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(X)
    arrays = {k: torch.tensor(v) for k, v in model._fitted_arrays().items()}
    parts = encoding.Encoder(model._coder(), arrays, 0, len(X)).encode(torch.from_numpy(X))
    next(parts)
    assert torch.is_grad_enabled()


def test_codes_that_are_stored_twice_add_up(X):
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(X)
    twice = csr_array(([2.0, 3.0, 1.0], [4, 4, 7], [0, 2, 3]), shape=(2, 20))
    tensor = torch.sparse_csr_tensor(
        *(torch.from_numpy(part) for part in (twice.indptr, twice.indices, twice.data)),
        twice.shape,
        check_invariants=False,
    )
    expected = twice.toarray() @ model.components_.astype(np.float64) + model.bias_
    found = model.inverse_transform(tensor)
    # Two products and the bias, each of size 5 at most.
    np.testing.assert_allclose(found, expected, rtol=0, atol=20 * 2.0**-24)


def test_arrays_leave_the_device_part_by_part(X, monkeypatch):
    """No part of the rows is still on the device when the one after the next is formed."""
    monkeypatch.setattr(device_model, "CHUNK_ROWS", 64)
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 64)
    alive, most = weakref.WeakSet(), 0

    def decode(codes, tensors):
        nonlocal most
        rows = encoding.decode(codes, tensors)
        alive.add(rows)
        most = max(most, len(alive))
        return rows

    monkeypatch.setattr(device_model, "decode", decode)
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(X)
    device = device_model.DeviceModel(model, TorchBackend("cpu"))
    Z = model.transform(X)
    for codes in (Z, Z.toarray()):
        np.testing.assert_allclose(
            device.inverse_transform(codes), model.inverse_transform(Z), rtol=0, atol=1e-5
        )
    np.testing.assert_allclose(device.reconstruct(X), model.reconstruct(X), rtol=0, atol=1e-4)
    assert len(X) > 4 * 64
    assert most <= 2


def test_a_width_that_was_not_fitted_is_refused(X):
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(torch.from_numpy(X))
    with pytest.raises(InputError, match="9 features"):
        model.transform(torch.from_numpy(X[:, :9]))


def test_another_scale_raises_a_warning(X):
    model = icfl.ICFL(**OPTIONS, backend="torch").fit(torch.from_numpy(X))
    with pytest.warns(InputScaleWarning, match="mean norm"):
        model.transform(torch.from_numpy(100 * X))


def test_tensors_in_main_memory_are_arrays_to_the_compiled_code(X):
    x = torch.from_numpy(X)
    model = icfl.ICFL(**OPTIONS).fit(x)
    assert bits(model) == bits(icfl.ICFL(**OPTIONS).fit(X))
    assert isinstance(model.transform(x), csr_array)
    assert type(model.reconstruct(x.to(torch.bfloat16))) is np.ndarray
    coder = icfl.SparseCoder(model.components_)
    assert (coder.transform(x.requires_grad_()) != coder.transform(X)).nnz == 0


@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "reconstruct", "score"])
def test_a_tensor_elsewhere_is_refused_by_the_compiled_code(method, X):
    """The device "meta" stands for any that is not the CPU."""
    model = icfl.ICFL(**OPTIONS).fit(X)
    with pytest.raises(InputTypeError, match=r"'meta'.*backend='torch'"):
        getattr(model, method)(torch.empty((5, 10), device="meta"))


def test_codes_as_tensors_with_the_compiled_code(X):
    model = icfl.ICFL(**OPTIONS).fit(X)
    Z = torch.from_numpy(model.transform(X).toarray())
    expected = model.inverse_transform(Z.numpy())
    np.testing.assert_array_equal(model.inverse_transform(Z.requires_grad_()), expected)
    with pytest.raises(InputTypeError, match=r"Z must be .*sparse_csr"):
        model.inverse_transform(Z.detach().to_sparse_csr())
    Z = icfl.encode_topk(torch.from_numpy(X), torch.from_numpy(model.components_.copy()), 3)
    assert (icfl.encode_topk(X, model.components_, 3) != Z).nnz == 0


def test_state_follows_the_rows_where_no_device_is_named(X, monkeypatch):
    """Another device is asked for; the CPU stands in for it once tensors would move."""
    from icfl.torch.stepper import DeviceStepper

    moved = []
    for kind in DeviceStepper.__subclasses__():
        work = kind._move_to

        def move(self, device, work=work):
            moved.append(str(device))
            work(self, torch.device("cpu"))

        monkeypatch.setattr(kind, "_move_to", move)
    monkeypatch.setattr("icfl.torch.stepper.device_of", _pretended)
    monkeypatch.setattr("icfl.torch.stepper.rows_on", lambda X, device: X)
    for kind in (icfl.ICFL, TopKSAE, JumpReLUSAE, BatchTopKSAE):
        for options in ({}, {"update": "adam"}) if kind is icfl.ICFL else ({},):
            moved.clear()
            x = torch.from_numpy(X)
            model = learner(kind, backend="torch", **options).fit(x)
            assert moved == ["meta"]
            assert np.isfinite(model.components_).all()


def _pretended(name, X=None):
    return torch.device("meta" if isinstance(X, torch.Tensor) else "cpu")


def test_options_are_a_value(X):
    value = TorchBackend("cpu", gram_budget=0)
    model = icfl.ICFL(**OPTIONS, backend=value).fit(torch.from_numpy(X))
    assert model.transform(torch.from_numpy(X)).layout == torch.sparse_csr
