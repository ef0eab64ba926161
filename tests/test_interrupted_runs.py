"""Runs cut short, by Ctrl-C or a kill: what they leave, and that they resume to the same bits."""

from __future__ import annotations

import multiprocessing
import os
import signal

import numpy as np
import pytest

import icfl
from children import running, seconds_to_stop
from icfl.coding.coders import OrthogonalPursuit
from icfl.exceptions import InputError, ModelFileError
from icfl.updates.adam import AdamState
from icfl.updates.online import OnlineState
from training_runs import OPTIONS, UPDATES, bits, planted


@pytest.fixture(scope="module", name="X")
def rows():
    return planted()


class Interrupt:
    """A callback that stops a fit as Ctrl-C does, between two steps."""

    def __init__(self, step):
        self.step = step

    def __call__(self, progress):
        if progress.step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("step", [1, 8, 9, 10, 35])
def test_interrupted_fit_is_the_model_of_its_last_step(step, X):
    # The paper's update does not look ahead, so a fit of as many steps is the same.
    options = OPTIONS | {"update": "adam"}
    model = icfl.ICFL(**options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, callback=Interrupt(step))
    expected = icfl.ICFL(**options, max_steps=step).fit(X)
    assert bits(model)[:4] == bits(expected)[:4]
    assert (model.partial_fit(X).transform(X) != expected.partial_fit(X).transform(X)).nnz == 0


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("during", ["encoding", "updating"])
def test_interrupt_inside_a_step(update, during, X, monkeypatch):
    options = OPTIONS | {"update": update}
    between = icfl.ICFL(**options)
    with pytest.raises(KeyboardInterrupt):
        between.fit(X, callback=Interrupt(12))
    # Wherever it is in step 13, that step is given up as a whole.
    owner, name, call = {
        "encoding": (OrthogonalPursuit, "encode", 13),
        "updating": (OnlineState if update == "online" else AdamState, "step", 13),
    }[during]
    work, calls = getattr(owner, name), []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return work(*args, **kwargs)

    within = icfl.ICFL(**options)
    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        within.fit(X)
    assert bits(within) == bits(between)
    assert within.n_steps_ == 12


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("step", [1, 8, 9, 10, 31])
@pytest.mark.parametrize("tol", [None, 1e-9])
def test_resumed_fit_has_the_bits_of_an_uninterrupted_one(update, step, tol, X, tmp_path):
    options = OPTIONS | {"update": update, "tol": tol}
    expected = icfl.ICFL(**options).fit(X)
    options["checkpoint"] = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        icfl.ICFL(**options).fit(X, callback=Interrupt(step))
    resumed = icfl.ICFL(**options).fit(X, resume=True)
    assert bits(resumed) == bits(expected)
    # A finished fit that is resumed has nothing left to do.
    again = icfl.ICFL(**options).fit(X, resume=True, callback=_fail)
    assert bits(again) == bits(expected)
    # Without resume the file does not matter.
    assert bits(icfl.ICFL(**options).fit(X)) == bits(expected)


def _fail(progress):
    raise AssertionError(f"step {progress.step} of a finished fit")


def test_resume_goes_on_with_the_seed_of_the_checkpoint(X, tmp_path):
    options = OPTIONS | {"random_state": None, "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(KeyboardInterrupt):
        icfl.ICFL(**options).fit(X, callback=Interrupt(5))
    seeds = {icfl.ICFL(**options).fit(X, resume=True)._run.seed for _ in range(2)}
    assert len(seeds) == 1


def test_resume_without_a_checkpoint_starts_at_the_beginning(X, tmp_path):
    model = icfl.ICFL(**OPTIONS, checkpoint=tmp_path / "checkpoint").fit(X, resume=True)
    assert bits(model) == bits(icfl.ICFL(**OPTIONS).fit(X))
    with pytest.raises(InputError, match="checkpoint"):
        icfl.ICFL(**OPTIONS).fit(X, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_components": 21}, "n_components.*20.*21"),
        ({"batch_size": 40}, "batch_size"),
        ({"random_state": 4}, "random_state"),
        ({"threshold": -np.inf}, "threshold"),
        ({"update": "adam"}, "update"),
        ({"update": icfl.updates.Online(memory=7)}, "update.*memory=7"),
        ({"max_iter": 9}, "max_iter"),
        ({"max_steps": 9}, "max_steps"),
        ({"init": np.eye(20, 10)}, "init"),
        ({"tol": 0.1}, "held back"),
    ],
)
def test_checkpoint_of_other_parameters_is_refused(change, message, X, tmp_path):
    options = OPTIONS | {"checkpoint": tmp_path / "checkpoint"}
    icfl.ICFL(**options).fit(X)
    with pytest.raises(InputError, match=message):
        icfl.ICFL(**options | change).fit(X, resume=True)
    icfl.ICFL(**options, n_jobs=1, verbose=1, sparse_output=False).fit(X, resume=True)


def test_checkpoint_of_other_data_is_refused(X, tmp_path):
    options = OPTIONS | {"checkpoint": tmp_path / "checkpoint"}
    icfl.ICFL(**options).fit(X)
    for other in (X[:-1], X[::-1], np.roll(X, 1, axis=1)):
        with pytest.raises(InputError, match="data"):
            icfl.ICFL(**options).fit(other, resume=True)


def test_what_is_no_checkpoint_is_refused(X, tmp_path):
    options = OPTIONS | {"checkpoint": tmp_path / "file"}
    icfl.ICFL(**OPTIONS).fit(X).save(tmp_path / "file")
    with pytest.raises(ModelFileError, match="not a checkpoint"):
        icfl.ICFL(**options).fit(X, resume=True)
    (tmp_path / "file").write_bytes(b"nothing of ours")
    with pytest.raises(ModelFileError):
        icfl.ICFL(**options).fit(X, resume=True)


def test_checkpoints_leave_nothing_else_behind(X, tmp_path):
    icfl.ICFL(**OPTIONS, checkpoint=tmp_path / "c", checkpoint_interval=0.0).fit(X)
    assert os.listdir(tmp_path) == ["c"]


def test_ctrl_c_stops_a_long_fit_within_a_second():
    script = """
import numpy as np, icfl
X = np.random.default_rng(0).standard_normal((60_000, 128), dtype=np.float32)
model = icfl.ICFL(1024, n_iterations=30, batch_size=20_000, max_iter=1000, init="random",
                  random_state=0)
def tell(progress):
    if progress.step == 1:
        print("ready", flush=True)
try:
    model.fit(X, callback=tell)
except KeyboardInterrupt:
    print("stopped", flush=True)
import sys
sys.stdin.readline()
assert model.n_steps_ >= 1
def stop(progress):
    if progress.step == model.n_steps_:
        raise KeyboardInterrupt
other = icfl.ICFL(**model.get_params())
try:
    other.fit(X, callback=stop)
except KeyboardInterrupt:
    pass
assert model.components_.tobytes() == other.components_.tobytes()
print("same", flush=True)
"""
    with running(script, patience=100) as process:
        elapsed = seconds_to_stop(process, after=0.3)  # somewhere inside the second step
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "same\n"
    assert elapsed < 1.0


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("update", UPDATES)
def test_killed_fits_resume_to_the_same_bits(update, tmp_path):
    X = planted(n=4000, d=24, M=64)
    rng = np.random.default_rng(0)
    kills, seed = 0, 0
    while kills < 15:  # for each update: 30 in all
        options = OPTIONS | {"update": update, "n_components": 64, "random_state": seed}
        expected = bits(icfl.ICFL(**options).fit(X))
        options |= {"checkpoint": tmp_path / f"{seed}", "checkpoint_interval": 0.0}
        finished = False
        while not finished:
            child = multiprocessing.get_context("fork").Process(target=_fit, args=(options, X))
            child.start()
            child.join(rng.uniform(0.02, 0.4))
            finished = child.exitcode == 0
            if not finished:
                assert child.exitcode is None, "the fit failed by itself"
                child.kill()
                child.join()
                kills += 1
        assert bits(icfl.ICFL(**options).fit(X, resume=True)) == expected
        seed += 1


def _fit(options, X):
    icfl.ICFL(**options).fit(X, resume=True)
