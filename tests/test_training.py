"""The training loop: schedule, starts, history, stopping, callbacks, and the same bits."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import icfl
import oracles
from icfl.coding.coders import OrthogonalPursuit
from icfl.exceptions import InputError
from icfl.learning.minibatches import Schedule
from training_runs import OPTIONS, UPDATES, bits, planted


@pytest.fixture(scope="module", name="X")
def rows():
    return planted()


def schedule(n=103, batch_size=10, max_iter=3, max_steps=None, held_back=0.0, seed=1):
    return Schedule(
        n,
        batch_size=batch_size,
        max_iter=max_iter,
        max_steps=max_steps,
        held_back=held_back,
        seed=seed,
    )


def test_a_pass_deals_every_row_once_into_even_batches():
    plan = schedule()
    assert (plan.batches, plan.n_steps) == (11, 33)
    passes = [[plan.indices(11 * epoch + b) for b in range(11)] for epoch in range(3)]
    for batches in passes:
        assert sorted(np.concatenate(batches)) == list(range(103))
        assert {len(batch) for batch in batches} == {9, 10}
        assert all(np.all(np.diff(batch) > 0) for batch in batches)
    assert not np.array_equal(passes[0][0], passes[1][0])


def test_batches_are_a_function_of_seed_and_step():
    in_order, at_random = schedule(), schedule()
    expected = [in_order.indices(step).tolist() for step in range(33)]
    for step in np.random.default_rng(0).permutation(33):
        assert at_random.indices(step).tolist() == expected[step]
    assert schedule(seed=2).indices(0).tolist() != expected[0]


def test_held_back_rows_are_never_trained_on():
    plan = schedule(held_back=0.2)
    assert len(plan.validation) == 21  # the ceiling of 20.6
    trained = np.concatenate([plan.indices(step) for step in range(plan.batches)])
    assert sorted(np.concatenate([trained, plan.validation])) == list(range(103))
    assert len(schedule(n=1, held_back=0.2).validation) == 0


def test_steps_end_at_the_first_limit():
    assert schedule(max_steps=7).n_steps == 7
    assert schedule(max_iter=None, max_steps=70).n_steps == 70
    assert schedule(max_iter=1, max_steps=70).n_steps == 11


def test_long_passes_are_recorded_about_twenty_times():
    plan = schedule(n=100_000, batch_size=10, max_iter=1)
    assert sum(plan.records(step) for step in range(1, plan.n_steps + 1)) == 20
    assert [s for s in range(1, 34) if schedule().records(s)] == [11, 22, 33]


@pytest.mark.parametrize("init", ["auto", "random", "linear", "data"])
@pytest.mark.parametrize("atom_norm", ["unit", "free"])
def test_starts(init, atom_norm, X):
    start = first(X, init=init, atom_norm=atom_norm, n_components=600)
    norms = np.linalg.norm(start.components_, axis=1)
    if init == "linear" and atom_norm == "free":
        # U(−1/√M, 1/√M), which has variance 1/(3M): a norm near √(d/3M).
        assert abs(start.components_).max() <= 600**-0.5
        assert np.sqrt((norms**2).mean()) == pytest.approx(np.sqrt(10 / 1800), rel=0.05)
    else:
        np.testing.assert_allclose(norms, 1, rtol=1e-6)
    if init == "linear":
        assert abs(start.bias_).max() <= 600**-0.5
    else:
        mean = oracles.unit_rows(X).mean(axis=0)
        np.testing.assert_allclose(start.bias_, mean, atol=1e-6)
    # No two atoms are the same.
    assert len(np.unique(start.components_, axis=0)) == 600


def first(X, **options):
    """The model before any step: one whose first step is interrupted."""
    model = icfl.ICFL(**OPTIONS | options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OrthogonalPursuit, "encode", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    assert model.n_steps_ == 0
    return model


def _interrupt(*_, **__):
    raise KeyboardInterrupt


def test_data_start_takes_distinct_rows_and_fills_up():
    X = np.repeat(np.eye(6)[:4], 5, axis=0)  # four distinct rows
    start = first(X, init="data", n_components=9, unit_norm_inputs=False)
    directions = oracles.unit_rows(np.eye(6)[:4] - X.mean(axis=0))
    cosines = start.components_ @ directions.T
    assert np.all(np.sort(cosines.max(axis=0)) > 1 - 1e-6)
    assert np.count_nonzero(cosines.max(axis=1) > 1 - 1e-6) == 4
    np.testing.assert_allclose(np.linalg.norm(start.components_, axis=1), 1, rtol=1e-6)


def test_given_start_is_used_and_its_zero_rows_are_drawn(X):
    init = 2 * np.eye(10)
    init[3] = 0
    start = first(X, init=init, n_components="auto")
    np.testing.assert_allclose(np.delete(start.components_, 3, 0), np.delete(np.eye(10), 3, 0))
    assert np.linalg.norm(start.components_[3]) == pytest.approx(1)


@pytest.mark.parametrize("update", UPDATES)
def test_same_bits_for_the_same_seed_and_any_n_jobs(update, X):
    options = OPTIONS | {"update": update}
    reference = bits(icfl.ICFL(**options).fit(X))
    for n_jobs in (1, 2, 5):
        assert bits(icfl.ICFL(**options, n_jobs=n_jobs).fit(X)) == reference
    assert bits(icfl.ICFL(**options | {"random_state": 4}).fit(X)) != reference


@pytest.mark.parametrize("layout", ["memory map", "Fortran", "float64", "strided"])
def test_same_bits_for_any_layout(layout, X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    rows = {
        "memory map": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "Fortran": np.asfortranarray(X),
        "float64": X.astype(np.float64),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
    }[layout]
    assert bits(icfl.ICFL(**OPTIONS).fit(rows)) == bits(icfl.ICFL(**OPTIONS).fit(X))


@pytest.mark.parametrize("update", UPDATES)
def test_learning_explains_more(update, X):
    options = OPTIONS | {"update": update, "max_iter": 30, "init": "random"}
    before, model = first(X, **options), icfl.ICFL(**options).fit(X)
    assert model.score(X) > before.score(X) + 0.02
    np.testing.assert_allclose(np.linalg.norm(model.components_, axis=1), 1, rtol=1e-5)


def test_history_measures_mini_batches_before_their_update(X):
    options = OPTIONS | {"max_steps": 1, "update": "adam"}  # learns with all iterations
    start = first(X, **options)
    model = icfl.ICFL(**options).fit(X)
    batch = X[schedule(430, 50, 4, 1, seed=model._run.seed).indices(0)]
    Z = start.transform(batch)
    rows, decoded = oracles.unit_rows(batch), start.inverse_transform(Z).astype(np.float64)
    cosines = (rows * decoded).sum(axis=1) / np.linalg.norm(decoded, axis=1)
    (entry,) = model.history_
    assert entry["explained_variance"] == pytest.approx(start.score(batch), abs=1e-6)
    assert entry["cosine"] == pytest.approx(cosines.mean(), abs=1e-6)
    assert entry["l0"] == pytest.approx(Z.nnz / len(batch))
    assert entry["dead"] == pytest.approx(1 - len(np.unique(Z.indices)) / 20)
    assert entry["step"] == 1
    assert entry["n_samples_seen"] == len(batch) == model.n_samples_seen_
    assert entry["epoch"] == pytest.approx(1 / 9)
    assert entry["seconds"] > 0


def test_history_has_an_entry_per_pass(X):
    model = icfl.ICFL(**OPTIONS).fit(X)
    assert [entry["epoch"] for entry in model.history_] == [1, 2, 3, 4]
    assert [entry["step"] for entry in model.history_] == [9, 18, 27, 36]
    assert (model.n_steps_, model.n_iter_, model.n_samples_seen_) == (36, 4, 4 * 430)


def test_dead_counts_atoms_unused_for_a_pass(X):
    # Half of the atoms point away from all data: positive selection never takes them.
    rows = abs(X)
    init = np.vstack([np.eye(10), -np.ones((10, 10))])
    model = icfl.ICFL(
        **OPTIONS | {"update": "adam", "learning_rate": 1e-9, "coherence_limit": 1.0},
        init=init,
        unit_norm_inputs=False,
        threshold=1e3,
    )
    assert model.fit(rows).history_[-1]["dead"] == 1.0


@pytest.mark.parametrize("update", UPDATES)
def test_partial_fit_takes_rows_in_order(update, X):
    options = OPTIONS | {"update": update, "init": np.eye(10), "n_components": "auto"}
    whole = icfl.ICFL(**options).partial_fit(X[:200]).partial_fit(X[200:430])
    pieces = icfl.ICFL(**options).partial_fit(X[:200])
    for block in (X[200:250], X[250:300], X[300:400], X[400:430]):
        pieces.partial_fit(block)
    assert whole.n_steps_ == pieces.n_steps_ == 9
    assert bits(whole)[:3] == bits(pieces)[:3]
    assert whole.n_samples_seen_ == 430


def test_partial_fit_after_fit_goes_on(X):
    model = icfl.ICFL(**OPTIONS).fit(X)
    before, steps = model.components_.copy(), model.n_steps_
    assert model.partial_fit(X[:70]).n_steps_ == steps + 2
    assert not np.array_equal(model.components_, before)
    assert len(model.history_) == 5
    with pytest.raises(InputError, match="10 features"):
        model.partial_fit(X[:, :9])


def test_fit_starts_anew(X):
    model = icfl.ICFL(**OPTIONS).fit(X)
    reference = bits(model)
    assert bits(model.partial_fit(X).fit(X)) == reference


def test_tolerance_ends_a_fit_early(X):
    options = OPTIONS | {"max_iter": 100, "validation_fraction": 0.2}
    model = icfl.ICFL(**options, tol=0.05).fit(X)
    values = [entry["validation_explained_variance"] for entry in model.history_]
    assert 6 <= len(values) < 100
    # The last five bring no more than tol over the best before each of them.
    assert all(values[i] <= max(values[:i]) + 0.05 for i in range(len(values) - 5, len(values)))
    held_back = schedule(430, 50, held_back=0.2, seed=model._run.seed).validation
    assert values[-1] == pytest.approx(model.score(X[held_back]), abs=1e-6)
    assert "validation_explained_variance" not in icfl.ICFL(**OPTIONS).fit(X).history_[0]


def test_callback_sees_every_step(X):
    seen = []
    icfl.ICFL(**OPTIONS).fit(X, callback=seen.append)
    assert [p.step for p in seen] == list(range(1, 37))
    assert {p.n_steps for p in seen} == {36}


def test_verbose_logs_the_history(X, caplog):
    with caplog.at_level(logging.INFO, logger="icfl"):
        icfl.ICFL(**OPTIONS).fit(X)
        assert not caplog.records
        icfl.ICFL(**OPTIONS, verbose=1).fit(X)
    assert len(caplog.records) == 4
    assert "explained_variance" in caplog.records[0].message


def test_divergence_is_an_error(X):
    options = OPTIONS | {"update": "adam", "learning_rate": 1e300, "atom_norm": "free"}
    with pytest.raises(InputError):
        icfl.ICFL(**options).fit(X)
