"""Two processes that learn together against one that takes their mini-batches as one."""

from __future__ import annotations

import pickle
import traceback

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

import icfl
from icfl.coding.coders import BlockPursuit, OrthogonalPursuit
from icfl.exceptions import InputError
from icfl.learning.stepper import Moment
from icfl.learning.threshold import RunningThreshold
from icfl.torch import TorchBackend
from icfl.torch.icfl import TorchPursuitStepper
from icfl.updates import Adam, Online
from torch_steps import ACTIVATIONS, DEAD, arrays_for, moment, rows, stepper_for
from training_runs import OPTIONS, planted

STEPS = 4
SHARES = (slice(0, 17), slice(17, 40))
"""The rows of each process: not equally many."""

WHOLE = slice(0, 40)


def autoencoder(activation):
    """An autoencoder that starts at other arrays in the second process, which do not count."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    return stepper_for(activation, arrays=arrays_for(activation, seed=rank))


BLOCK = BlockPursuit(3, 1, 0.0, "positive")


def pursuit(update, threshold=None, coder=BLOCK):
    atoms = arrays_for("topk")["components"].copy()
    atoms[21:] = atoms[:3]
    atoms[21:, 0] += 0.3  # near duplicates, which are replaced
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return TorchPursuitStepper(
        coder,
        update,
        {"components": atoms, "bias": np.zeros(8, np.float32)},
        TorchBackend(),
        unit_norm=True,
        coherence_limit=0.9,
        threshold=threshold,
    )


def thresholds(slope=0.0):
    return RunningThreshold(np.full(24, 0.5, np.float32), 8, slope)


def with_a_slope():
    """Codes that are refitted, with thresholds that rise with what is left of a row."""
    return pursuit(Adam(1e-3), thresholds(0.05), OrthogonalPursuit(3, 0.0, "positive"))


def learnt(stepper, share):
    """What a stepper has learnt, and what it found out, after a few steps."""
    found = []
    for step in range(STEPS):
        seen = moment(step, DEAD)
        # Steps at which atoms are replaced; the second process draws from another generator.
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        seen = Moment(95 + 2 * step, None, np.random.default_rng([step, rank]), *seen[3:])
        outcome = stepper.advance(rows(step)[share], seen)
        found.append(outcome._replace(active=np.unique(outcome.active)))
        stepper.commit()
    return {**stepper.fitted(), **stepper.arrays()}, found


def estimators():
    """Estimators on rows of each process."""
    X = planted(n=400)
    rank, size = (
        (distributed.get_rank(), distributed.get_world_size())
        if distributed.is_initialized()
        else (0, 1)
    )
    own = X[rank::size]
    models = [
        icfl.ICFL(**OPTIONS | {"batch_size": 60, "max_iter": 3}, backend="torch"),
        icfl.ICFL(**OPTIONS | {"update": "adam"}, backend="torch"),
    ]
    results = []
    for model in models:
        model.fit(own)
        results.append((model.components_, model.history_, model.input_norm_))
        model.fit(torch.from_numpy(own))
        results.append((model.components_, model.history_, model.input_norm_))
    return results


def refusals():
    X = planted(n=400)
    messages = []
    rank = distributed.get_rank()
    for rows_, options in ((X[: 300 + rank], {}), (X, {"tol": 0.1})):
        try:
            icfl.ICFL(**OPTIONS | options, backend="torch").fit(rows_)
        except InputError as error:
            messages.append(str(error))
    return messages


CASES = {
    **{name: lambda share, name=name: learnt(autoencoder(name), share) for name in ACTIVATIONS},
    "online": lambda share: learnt(pursuit(Online(replace_every=2)), share),
    "adam": lambda share: learnt(pursuit(Adam(1e-3)), share),
    "threshold": lambda share: learnt(pursuit(Adam(1e-3), thresholds()), share),
    "slope": lambda share: learnt(with_a_slope(), share),
}


def work(rank, folder):
    """One of two processes: computes everything, and writes what it has."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    try:
        results = {name: case(SHARES[rank]) for name, case in CASES.items()}
        results["estimators"] = estimators()
        results["refusals"] = refusals()
    except Exception:
        results = {"failure": traceback.format_exc()}
    (folder / f"{rank}").write_bytes(pickle.dumps(results))
    distributed.destroy_process_group()


@pytest.fixture(scope="module", name="both")
def _both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(work, (folder,), nprocs=2)
    results = [pickle.loads((folder / f"{rank}").read_bytes()) for rank in range(2)]
    for found in results:
        assert "failure" not in found, found.get("failure")
    return results


@pytest.mark.parametrize("name", CASES)
def test_two_processes_are_as_one(name, both):
    arrays, outcomes = CASES[name](WHOLE)
    for found, seen in (both[0][name], both[1][name]):
        assert found.keys() == arrays.keys()
        for key, expected in arrays.items():
            # Sums in another order, four times. Adam divides gradients by their own size, a sweep
            # directions by an atom's energy, and both may be small.
            atol = 2e-4 * max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(found[key], expected, rtol=0, atol=atol, err_msg=key)
        for one, other in zip(seen, outcomes, strict=True):
            assert one.n_rows == other.n_rows == 40
            np.testing.assert_array_equal(one.active, other.active)
            assert (one.n_nonzero, one.n_replaced) == (other.n_nonzero, other.n_replaced)
            assert one.sums[:2] == pytest.approx(other.sums[:2], rel=1e-5)
            for a, b in zip(one.sums[2:], other.sums[2:], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    if name in ("online", "adam"):
        assert sum(outcome.n_replaced for outcome in outcomes) > 0


@pytest.mark.parametrize("name", CASES)
def test_both_hold_the_same_bits(name, both):
    first, second = (found[name][0] for found in both)
    for key, array in first.items():
        assert array.tobytes() == second[key].tobytes(), key


def test_estimators_learn_from_both_shares(both):
    for first, second in zip(both[0]["estimators"], both[1]["estimators"], strict=True):
        assert first[0].tobytes() == second[0].tobytes()
        for entry, other in zip(first[1], second[1], strict=True):
            assert {k: v for k, v in entry.items() if k != "seconds"} == {
                k: v for k, v in other.items() if k != "seconds"
            }
        assert first[2] == second[2]
        assert first[1][-1]["n_samples_seen"] == 400 * first[1][-1]["epoch"]
        assert first[1][-1]["explained_variance"] > 0.5


def test_what_would_never_end_is_refused(both):
    for found in both:
        rows_, tolerance = found["refusals"]
        assert rows_ == "X must have as many rows in every process, got 300, 301"
        assert tolerance == "tol must be None with several processes, got 0.1"
