"""ICFL on PyTorch against the compiled code: codes, both updates, and runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import icfl
import oracles
from icfl.coding.coders import BlockPursuit
from icfl.exceptions import InputError
from icfl.torch import TorchBackend, memory
from icfl.torch.distributed import Group
from icfl.torch.online import Statistics, swept
from icfl.torch.orthogonal import Orthogonal
from icfl.torch.pursuit import Pursuit
from icfl.torch.selection import best_of_batch, largest
from icfl.updates.disentangling import Parting
from training_runs import OPTIONS, UPDATES, bits, planted

torch.set_num_threads(1)

BUDGETS = [pytest.param(1 << 30, id="gram"), pytest.param(0, id="residuals")]


@pytest.fixture(scope="module", name="X")
def rows():
    return planted()


def encode(X, D, bias, budget, **options):
    coder = BlockPursuit(**{"threshold": 0.0, "selection": "positive"} | options)
    pursuit = Pursuit(torch.from_numpy(D), torch.from_numpy(bias), budget)
    return pursuit.encode(torch.from_numpy(X), coder).numpy()


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("selection", ["positive", "absolute"])
@pytest.mark.parametrize("threshold", [0.0, 0.05, -np.inf])
@pytest.mark.parametrize(("rounds", "block"), [(1, 1), (6, 1), (4, 3), (3, 40)])
def test_codes_are_those_of_the_definition(budget, selection, threshold, rounds, block):
    rng = np.random.default_rng(rounds)
    D = (rng.uniform(0.5, 2, (30, 1)) * oracles.unit_rows(rng.standard_normal((30, 12)))).astype(
        np.float32
    )
    X, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((60, 12), 12))
    options = {
        "n_iterations": rounds,
        "atoms_per_iteration": block,
        "threshold": threshold,
        "selection": selection,
    }
    found = encode(X, D, bias, budget, **options)
    oracle = oracles.encode_icfl(X, D, bias=bias, **options)
    clear = oracle.clear
    assert clear.mean() > 0.5 or block >= 30  # of more atoms than dimensions coefficients are free
    np.testing.assert_array_equal(found[clear] != 0, oracle.codes[clear] != 0)
    # The bound is on one way of rounding; by the Gram matrix there is a product more in each score.
    error = 4 * oracle.coefficient_error[clear, None]
    assert np.all(np.abs(found[clear] - oracle.codes[clear]) <= error)
    compiled = icfl.encode_icfl(X, D, bias=bias, **options).toarray()
    np.testing.assert_array_equal(found[clear] != 0, compiled[clear] != 0)


@pytest.mark.parametrize("budget", BUDGETS)
def test_ties_go_to_the_lower_atom_and_duplicates_share(budget):
    D = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    X = np.array([[3.0, 2.0, 1.0]], np.float32)
    zeros = np.zeros(3, np.float32)
    found = encode(X, D, zeros, budget, n_iterations=1, atoms_per_iteration=1)
    assert np.flatnonzero(found[0]).tolist() == [0]
    found = encode(X, D, zeros, budget, n_iterations=1, atoms_per_iteration=6)
    assert np.flatnonzero(found[0]).tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(found[0, :6], [0.75] * 4 + [1.0] * 2, rtol=1e-5)


@pytest.mark.parametrize("budget", BUDGETS)
def test_zero_rows_and_zero_atoms_have_no_codes(budget):
    D = np.zeros((4, 3), np.float32)
    D[1, 0] = 1
    X = np.array([[0, 0, 0], [2, 0, 0]], np.float32)
    zeros = np.zeros(3, np.float32)
    for threshold in (0.0, -np.inf):
        options = {"n_iterations": 3, "atoms_per_iteration": 2, "threshold": threshold}
        found = encode(X, D, zeros, budget, **options)
        np.testing.assert_allclose(found, [[0, 0, 0, 0], [0, 2, 0, 0]], atol=1e-5)


def test_parts_of_the_rows_give_the_same_codes(monkeypatch, X):
    D = X[:20] / np.linalg.norm(X[:20], axis=1, keepdims=True)
    options = {"n_iterations": 3, "atoms_per_iteration": 2}
    whole = encode(X, D, np.zeros(10, np.float32), 0, **options)
    monkeypatch.setattr(memory, "SCORE_BYTES", 50_000)
    parts = encode(X, D, np.zeros(10, np.float32), 0, **options)
    np.testing.assert_allclose(parts, whole, atol=1e-6)


def test_largest_settles_ties_for_the_lower_index():
    rng = np.random.default_rng(0)
    ranks = torch.from_numpy(rng.integers(-3, 4, (200, 17)).astype(np.float32))
    for count in (1, 3, 16, 17):
        values, places = largest(ranks, count, -torch.inf)
        expected = torch.sort(ranks, dim=1, descending=True, stable=True).indices[:, :count]
        assert torch.equal(places.sort(dim=1).values, expected.sort(dim=1).values)
        assert torch.equal(values, ranks.gather(1, places))


def test_best_of_a_batch_settles_ties_for_the_lower_place():
    rng = np.random.default_rng(0)
    values = rng.integers(-3, 4, (9, 17)).astype(np.float32)
    for count in (1, 20, 60, 100, 153, 200):
        mask, smallest = best_of_batch(torch.from_numpy(values), count, Group())
        order = np.argsort(-values.ravel(), kind="stable")[:count]
        expected = np.zeros(values.size, bool)
        expected[order] = values.ravel()[order] > 0
        np.testing.assert_array_equal(mask.numpy().ravel(), expected)
        full = expected.sum() == count
        assert float(smallest) == (values.ravel()[expected].min() if full else 0)


@pytest.mark.parametrize("unit_norm", [True, False])
def test_sweep_is_that_of_the_definition(unit_norm):
    """150 atoms are three blocks."""
    rng = np.random.default_rng(1)
    M, d, n = 150, 12, 900
    D = oracles.unit_rows(rng.standard_normal((M, d)))
    Z = rng.uniform(0, 1, (n, M)) * (rng.random((n, M)) < 0.05)
    Z[:, 7] = 0  # an atom without a use stays
    X = Z @ D + 0.1 * rng.standard_normal((n, d))
    seen = (Z.T @ Z, Z.T @ X, Z.sum(axis=0), X.sum(axis=0), float(n))
    statistics = Statistics(*map(torch.from_numpy, seen[:4]), seen[4])
    bias = torch.from_numpy(seen[3] / n)
    found = swept(torch.from_numpy(D), bias, statistics, unit_norm)
    expected, _ = oracles.online_sweep(D, seen, unit_norm)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found.numpy()[7], D[7])


def test_recoded_statistics_are_those_of_rewritten_codes():
    rng = np.random.default_rng(2)
    M, d, n = 20, 6, 300
    Z, X = rng.uniform(-1, 1, (n, M)), rng.standard_normal((n, d))
    seen = (Z.T @ Z, Z.T @ X, Z.sum(axis=0), X.sum(axis=0))
    statistics = Statistics(*map(torch.from_numpy, seen), float(n))
    one = Parting(4, np.array([0, 7, 19]), rng.uniform(-1, 1, 3).astype(np.float32), 0.6)
    statistics.recode(one)
    Z[:, one.others] += np.outer(Z[:, 4], one.weights)
    Z[:, 4] *= one.left
    for found, expected in zip(statistics, (Z.T @ Z, Z.T @ X, Z.sum(axis=0)), strict=False):
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(statistics.input_sums.numpy(), seen[3])


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("atom_norm", ["unit", "free"])
def test_a_fit_is_that_of_the_compiled_code(update, atom_norm, X):
    options = OPTIONS | {"update": update, "atom_norm": atom_norm}
    compiled = icfl.ICFL(**options).fit(X)
    found = icfl.ICFL(**options, backend="torch").fit(X)
    # 36 steps, each of which may add a few roundings of 6e-8 to atoms of norm 1.
    np.testing.assert_allclose(found.components_, compiled.components_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.bias_, compiled.bias_, rtol=0, atol=1e-6)
    for entry, expected in zip(found.history_, compiled.history_, strict=True):
        assert entry.keys() == expected.keys()
        for name in entry.keys() - {"seconds"}:
            assert entry[name] == pytest.approx(expected[name], rel=1e-5)
    assert found.n_samples_seen_ == compiled.n_samples_seen_


@pytest.mark.parametrize("update", UPDATES)
def test_replacement_is_that_of_the_compiled_code(update, X):
    """Half of the atoms are near duplicates, and some of the others are never used."""
    rng = np.random.default_rng(5)
    init = oracles.unit_rows(rng.standard_normal((30, 10)))
    init[15:] = oracles.unit_rows(init[:15] + 0.02 * rng.standard_normal((15, 10)))
    options = OPTIONS | {
        "n_components": 30,
        "init": init,
        "update": update,
        "max_iter": None,
        "max_steps": 110,
    }
    if update == "adam":
        options["learning_rate"] = 1e-4
    compiled = icfl.ICFL(**options).fit(X)
    found = icfl.ICFL(**options, backend="torch").fit(X)
    replaced = [[entry["replaced"] for entry in m.history_] for m in (compiled, found)]
    assert replaced[0] == replaced[1]
    assert sum(replaced[0]) >= 10
    # Adam divides gradients by their own size, so one of rounding's size still moves by steps of
    # 1e-4, either way; sweeps do not.
    atol = 5e-4 if update == "adam" else 1e-4
    np.testing.assert_allclose(found.components_, compiled.components_, rtol=0, atol=atol)


@pytest.mark.parametrize("update", UPDATES)
def test_checkpoints_are_alike(update, X):
    """What the compiled code has learnt with, PyTorch learns on with, and the other way round."""
    options = OPTIONS | {"update": update, "max_iter": 1}
    models = [icfl.ICFL(**options, backend=backend).fit(X) for backend in ("rust", "torch")]
    arrays = [model._stepper.arrays() for model in models]
    assert arrays[0].keys() == arrays[1].keys()
    for name, array in arrays[0].items():
        other = np.asarray(arrays[1][name])
        assert (other.shape, other.dtype) == (np.shape(array), np.asarray(array).dtype)
        np.testing.assert_allclose(other, array, rtol=1e-4, atol=1e-4)
    models[1]._stepper.set_arrays(arrays[0])
    models[0]._stepper.set_arrays(arrays[1])
    for model in models:
        model.partial_fit(X[:50])
    np.testing.assert_allclose(models[0].components_, models[1].components_, atol=1e-5)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("step", [1, 9, 31])
def test_resumed_fit_has_the_bits_of_an_uninterrupted_one(update, step, X, tmp_path):
    options = OPTIONS | {"update": update, "backend": "torch"}
    expected = bits(icfl.ICFL(**options).fit(X))
    options["checkpoint"] = tmp_path / "checkpoint"

    def interrupt(progress):
        if progress.step == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        icfl.ICFL(**options).fit(X, callback=interrupt)
    assert bits(icfl.ICFL(**options).fit(X, resume=True)) == expected


def test_an_interrupt_inside_a_step_gives_the_step_up(X, monkeypatch):
    options = OPTIONS | {"backend": "torch"}
    calls, work = [], Orthogonal.encode

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return work(*args)

    monkeypatch.setattr(Orthogonal, "encode", interrupted)
    model = icfl.ICFL(**options)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_steps_ == 5
    monkeypatch.undo()

    def stop(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    other = icfl.ICFL(**options)
    with pytest.raises(KeyboardInterrupt):
        other.fit(X, callback=stop)
    assert bits(model) == bits(other)


def test_validation_and_early_end(X):
    options = OPTIONS | {"tol": 0.05, "max_iter": 60, "validation_fraction": 0.2}
    found = icfl.ICFL(**options, backend="torch").fit(X)
    expected = icfl.ICFL(**options).fit(X)
    name = "validation_explained_variance"
    values, wanted = ([entry[name] for entry in m.history_] for m in (found, expected))
    assert values == pytest.approx(wanted, abs=1e-4)


def test_an_update_of_the_users_own_is_refused(X):
    @dataclasses.dataclass(frozen=True)
    class Mine:
        def start(self, *args, **options):
            raise AssertionError

    with pytest.raises(InputError, match=r"update must be icfl.updates.Adam or .*Mine"):
        icfl.ICFL(**OPTIONS | {"update": Mine()}, backend="torch").fit(X)


def test_divergence_is_an_error(X):
    options = {"update": "adam", "learning_rate": 1e300, "atom_norm": "free", "backend": "torch"}
    with pytest.raises(InputError, match="learning_rate"):
        icfl.ICFL(**OPTIONS | options).fit(X)


def test_a_budget_too_small_for_the_gram_matrix_gives_the_same_fit(X):
    small = TorchBackend(gram_budget=0)
    a, b = (icfl.ICFL(**OPTIONS, backend=backend).fit(X) for backend in ("torch", small))
    np.testing.assert_allclose(a.components_, b.components_, rtol=0, atol=1e-5)
