"""The choice of a backend: names, values, devices, and what is said where something is missing."""

from __future__ import annotations

import builtins
import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone

import icfl
from icfl.autoencoders import (
    AbsTopKSAE,
    BatchTopKSAE,
    JumpReLUSAE,
    MatchingPursuitSAE,
    MatryoshkaSAE,
    TopKSAE,
)
from icfl.exceptions import InputError, InputTypeError, MissingDependencyError
from icfl.learning.backends import backend_of
from icfl.torch import TorchBackend
from icfl.torch.autoencoder import TorchAutoencoderStepper
from icfl.torch.icfl import TorchPursuitStepper
from training_runs import OPTIONS, bits, planted

torch.set_num_threads(1)

TORCH_ONLY = (JumpReLUSAE, MatchingPursuitSAE)
SMALL = {"n_components": 20, "n_nonzero": 3, "batch_size": 50, "max_iter": 2, "random_state": 0}


class Killed(BaseException):
    """Nothing is written after it: what remains is the checkpoint before the last step."""


@pytest.fixture(scope="module", name="X")
def rows():
    return planted()


@pytest.fixture(name="gpus")
def _gpus(monkeypatch):
    """A machine that says it has two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("kind", "backend", "device", "expected"),
    [
        (icfl.ICFL, "auto", None, None),
        (icfl.ICFL, "auto", "cpu", None),
        (icfl.ICFL, "auto", "cuda", TorchBackend("cuda")),
        (icfl.ICFL, "auto", "cuda:1", TorchBackend("cuda:1")),
        (icfl.ICFL, "rust", None, None),
        (icfl.ICFL, "rust", "cpu", None),
        (icfl.ICFL, "torch", None, TorchBackend()),
        (icfl.ICFL, "torch", "cpu", TorchBackend("cpu")),
        (icfl.ICFL, TorchBackend("cuda"), None, TorchBackend("cuda")),
        (icfl.ICFL, TorchBackend("cuda"), "cuda", TorchBackend("cuda")),
        (TopKSAE, "auto", None, None),
        (TopKSAE, "torch", "cuda:0", TorchBackend("cuda:0")),
        (JumpReLUSAE, "auto", None, TorchBackend()),
        (MatchingPursuitSAE, "auto", "cpu", TorchBackend("cpu")),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_names_devices_and_values(kind, backend, device, expected):
    assert backend_of(kind(backend=backend, device=device)) == expected


@pytest.mark.parametrize(
    ("kind", "parameters", "error", "message"),
    [
        (icfl.ICFL, {"backend": "jax"}, InputError, "backend must be one of 'auto', 'rust'"),
        (icfl.ICFL, {"backend": 3}, InputError, "backend must be one of"),
        (icfl.ICFL, {"device": 3}, InputTypeError, "device must be None or a string, got 3"),
        (icfl.ICFL, {"backend": "rust", "device": "cuda"}, InputError, "with backend='rust'"),
        (JumpReLUSAE, {"backend": "rust"}, InputError, "'auto' or 'torch' for JumpReLUSAE"),
        (MatchingPursuitSAE, {"backend": "rust"}, InputError, "for MatchingPursuitSAE"),
        (icfl.ICFL, {"device": "toaster"}, InputError, "device must be one that PyTorch knows"),
        (icfl.ICFL, {"device": "cuda:7"}, InputError, "one of 2 cuda devices"),
        (
            icfl.ICFL,
            {"backend": TorchBackend("cpu"), "device": "cuda"},
            InputError,
            "device must be None or that of backend, 'cpu', got 'cuda'",
        ),
    ],
)
@pytest.mark.usefixtures("gpus")
def test_what_cannot_be_is_refused(kind, parameters, error, message, X):
    with pytest.raises(error, match=message):
        kind(**parameters).fit(X)


def test_a_device_that_is_not_there_is_refused_before_any_work(X, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for model in (icfl.ICFL(device="cuda"), TopKSAE(backend="torch", device="cuda:0")):
        with pytest.raises(InputError, match=r"device must be available, got 'cuda.*finds no cuda"):
            model.fit(X)


@pytest.mark.parametrize("device", ["meta", "vulkan"])
def test_a_device_that_gives_no_numbers_is_refused(device, X):
    with pytest.raises(InputError, match=f"one that computes here, got '{device}': "):
        icfl.ICFL(device=device).fit(X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "float16"}, InputError, "precision must be one of 'float32', 'bfloat16'"),
        ({"compile": "yes"}, InputTypeError, "compile must be True or False"),
        ({"gram_budget": -1}, InputError, "gram_budget"),
        ({"device": torch.device("cpu")}, InputTypeError, "device must be None or a string"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        TorchBackend(**options)


def test_the_value_is_kept_by_copies_and_clones(X):
    group = object()  # as a process group: neither copied nor pickled
    value = TorchBackend("cpu", process_group=group)
    model = icfl.ICFL(backend=value)
    assert clone(model).backend is value
    assert copy.deepcopy(model).backend is value
    plain = TorchBackend("cpu", precision="bfloat16")
    assert pickle.loads(pickle.dumps(plain)) == plain
    fitted = icfl.ICFL(**OPTIONS, backend=plain).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    assert bits(again.partial_fit(X)) == bits(fitted.partial_fit(X))


def test_learners_use_it(X):
    assert isinstance(icfl.ICFL(**OPTIONS, backend="torch").fit(X)._stepper, TorchPursuitStepper)
    model = TopKSAE(**SMALL, backend="torch").fit(X)
    assert isinstance(model._stepper, TorchAutoencoderStepper)


def test_without_pytorch_the_extra_is_named(X, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for model in (icfl.ICFL(backend="torch"), JumpReLUSAE(), icfl.ICFL(device="cuda")):
        with pytest.raises(MissingDependencyError, match=r"pip install 'icfl\[torch\]'"):
            model.fit(X)


def test_the_value_does_not_need_pytorch():
    code = """
import sys, icfl
backend = icfl.torch.TorchBackend("cuda", precision="bfloat16")
model = icfl.ICFL(8, backend=backend)
print(repr(model), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"
    assert "bfloat16" in done.stdout


@pytest.mark.parametrize("backend", ["torch", TorchBackend("cpu", gram_budget=7)])
def test_files_say_what_was_learnt_and_not_where(backend, X, tmp_path):
    model = icfl.ICFL(**OPTIONS, backend=backend).fit(X)
    model.save(tmp_path / "model")
    config, _ = model.get_state()
    json.dumps(config)
    loaded = icfl.load(tmp_path / "model")
    assert (loaded.backend, loaded.device) == ("auto", None)
    assert (loaded.transform(X) != model.transform(X)).nnz == 0
    loaded.partial_fit(X)


@pytest.mark.parametrize("kind", [*TORCH_ONLY, BatchTopKSAE])
def test_autoencoders_encode_with_the_compiled_code_as_they_were_trained(kind, X):
    options = SMALL | {"max_iter": 30, "learning_rate": 3e-3, "backend": "torch"}
    model = kind(**options).fit(X)
    Z = model.transform(X)
    assert Z.shape == (430, 20)
    assert 1 < Z.nnz / 430 <= 6
    x = model.transform(torch.from_numpy(X)).to_dense().numpy()
    np.testing.assert_allclose(Z.toarray(), x, rtol=0, atol=1e-5)
    assert model.score(X) > 0.4


def test_thresholds_start_where_as_many_are_active_as_asked_for(X):
    model = JumpReLUSAE(**SMALL | {"max_iter": None, "max_steps": 1, "learning_rate": 1e-9})
    model.fit(X)
    assert model.transform(X).nnz / len(X) == pytest.approx(3, rel=0.1)
    assert np.ptp(model.threshold_) < 1e-6


def test_the_penalty_holds_the_number_of_non_zeros():
    X = planted(n=2000, d=32, M=64)
    options = SMALL | {"n_components": 64, "max_iter": 30, "learning_rate": 3e-3, "n_nonzero": 4}
    model = JumpReLUSAE(**options).fit(X)
    assert model.history_[-1]["l0"] == pytest.approx(4, rel=0.25)
    assert np.all(model.threshold_ > 0)


@pytest.mark.parametrize("kind", TORCH_ONLY)
def test_autoencoders_come_back_from_their_state_without_pytorch(kind, X, monkeypatch):
    model = kind(**SMALL).fit(X)
    state = model.get_state()
    monkeypatch.setattr(TorchBackend, "check", lambda _: pytest.fail("PyTorch is asked for"))
    again = kind.from_state(*state)
    assert (again.transform(X) != model.transform(X)).nnz == 0
    monkeypatch.undo()
    again.partial_fit(X)
    assert again.n_steps_ == model.n_steps_ + 9


def test_offsets_follow_the_arrays(X):
    model = JumpReLUSAE(**SMALL).fit(X)
    before = model.transform(X)
    model.threshold_ = model.threshold_ + 10
    assert model.transform(X).nnz == 0
    model.threshold_ = model.threshold_ - 10
    np.testing.assert_allclose(model.transform(X).toarray(), before.toarray(), atol=1e-5)


@pytest.mark.parametrize("kind", [TopKSAE, BatchTopKSAE, *TORCH_ONLY])
@pytest.mark.parametrize("step", [1, 9, 12])
@pytest.mark.parametrize(
    ("kind_of_end", "interval"), [(KeyboardInterrupt, 60.0), (Killed, 0.0)], ids=["ctrl-c", "kill"]
)
def test_resumed_fit_has_the_bits_of_an_uninterrupted_one(
    kind, step, kind_of_end, interval, X, tmp_path
):
    options = SMALL | {"backend": "torch", "learning_rate": 3e-3}
    expected = bits(kind(**options).fit(X))
    options["checkpoint"] = tmp_path / "checkpoint"

    def interrupt(progress):
        if progress.step == step:
            raise kind_of_end

    with pytest.raises(kind_of_end):
        kind(**options, checkpoint_interval=interval).fit(X, callback=interrupt)
    assert bits(kind(**options).fit(X, resume=True)) == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"sparsity_coefficient": -1.0}, "sparsity_coefficient"),
        ({"n_nonzero": 0}, "n_nonzero"),
    ],
)
def test_parameters_of_thresholds_are_checked(parameters, message, X):
    with pytest.raises(InputError, match=message):
        JumpReLUSAE(**SMALL | parameters).fit(X)


ACTIVATIONS = {
    "topk": TopKSAE,
    "abs_topk": AbsTopKSAE,
    "batch_topk": BatchTopKSAE,
    "nested": MatryoshkaSAE,
}


@pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_an_autoencoder_is_that_of_the_compiled_code(kind, X):
    """Some latents are dead from the third pass on, and the number of non-zeros grows."""
    options = SMALL | {"n_nonzero": 10, "max_iter": 4, "learning_rate": 3e-4}
    compiled = kind(**options).fit(X)
    found = kind(**options, backend="torch").fit(X)
    for name in compiled._shapes(20, 10):
        ours, theirs = getattr(found, f"{name}_"), getattr(compiled, f"{name}_")
        # Adam divides gradients by their own size: one of rounding's size may go either way.
        assert np.mean(np.abs(ours - theirs) > 1e-5) < 0.05, name
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=36 * 2 * 3e-4)
    for entry, expected in zip(found.history_, compiled.history_, strict=True):
        for key in entry.keys() - {"seconds"}:
            assert entry[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-4), key


@pytest.mark.parametrize("kind", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_checkpoints_of_autoencoders_are_alike(kind, X):
    """What the compiled code has learnt with, PyTorch learns on with, and the other way round."""
    options = SMALL | {"max_iter": 1, "learning_rate": 3e-4}
    models = [kind(**options, backend=backend).fit(X) for backend in ("rust", "torch")]
    arrays = [model._stepper.arrays() for model in models]
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[0].items():
        other = arrays[1][name]
        assert (other.shape, other.dtype) == (np.shape(array), np.asarray(array).dtype), name
    models[1]._stepper.set_arrays(arrays[0])
    models[0]._stepper.set_arrays(arrays[1])
    for model in models:
        model.partial_fit(X[:50])
    np.testing.assert_allclose(models[0].components_, models[1].components_, atol=2e-3)
