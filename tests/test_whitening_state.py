"""A whitener stored as plain data is the same whitener; damaged data are refused by name."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from icfl.exceptions import InputError, ModelFileError
from icfl.whitening import ControlWhitener

PARAMETERS = [
    {},
    {"n_components": np.int64(3), "method": "zca", "eps": np.float64(1e-3)},
    {"n_components": 0.9, "shrinkage": "ledoit-wolf"},
    {"batch_correction": "center-scale", "shrinkage": 0.1},
    {"batch_correction": "coral", "method": "zca"},
]


def data(labels=("a", "b", "c")):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 5)) @ rng.normal(size=(5, 5)) + 100
    return X, {"control": rng.random(90) < 0.6, "batch": np.repeat(np.array(labels), 30)}


def stored(whitener, **options):
    config, tensors = whitener.get_state(**options)
    return json.loads(json.dumps(config)), {k: v.copy() for k, v in tensors.items()}


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("labels", [("a", "b", "c"), (10, 2, 3)])
def test_round_trip_gives_the_same_bits(parameters, labels):
    X, roles = data(labels)
    whitener = ControlWhitener(**parameters).fit(X, **roles)
    config, tensors = stored(whitener)
    assert all(array.dtype == np.float64 for array in tensors.values())
    loaded = ControlWhitener.from_state(config, tensors)
    assert loaded.get_params() == whitener.get_params()
    assert loaded.n_controls_ == whitener.n_controls_
    Z = whitener.transform(X, roles["batch"])
    np.testing.assert_array_equal(loaded.transform(X, roles["batch"]), Z)
    np.testing.assert_array_equal(
        loaded.inverse_transform(Z, roles["batch"]), whitener.inverse_transform(Z, roles["batch"])
    )
    for name in ("mean_", "scale_", "components_", "explained_variance_ratio_", "shrinkage_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(whitener, name))
    # And the fit goes on to the same bits.
    whitener.partial_fit(X[:40] * 2, control=roles["control"][:40], batch=roles["batch"][:40])
    loaded.partial_fit(X[:40] * 2, control=roles["control"][:40], batch=roles["batch"][:40])
    np.testing.assert_array_equal(
        loaded.transform(X, roles["batch"]), whitener.transform(X, roles["batch"])
    )


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_statistics_can_be_left_out(parameters):
    X, roles = data()
    whitener = ControlWhitener(**parameters).fit(X, **roles)
    config, tensors = stored(whitener, statistics=False)
    assert not any(name.startswith("moments") for name in tensors)
    loaded = ControlWhitener.from_state(config, tensors)
    assert loaded.n_controls_ == whitener.n_controls_
    np.testing.assert_array_equal(
        loaded.transform(X, roles["batch"]), whitener.transform(X, roles["batch"])
    )
    with pytest.raises(InputError, match="stored without its statistics"):
        loaded.partial_fit(X, **roles)
    with pytest.raises(InputError, match="stored without its statistics"):
        ControlWhitener(**parameters).fit(X, **roles).merge(loaded)
    ControlWhitener.from_state(*stored(loaded))
    assert loaded.fit(X, **roles).n_controls_ == whitener.n_controls_


def test_batches_without_controls_and_feature_names_are_kept():
    pandas = pytest.importorskip("pandas")
    X, roles = data()
    roles["control"][30:60] = False
    frame = pandas.DataFrame(X, columns=list("abcde"))
    whitener = ControlWhitener(batch_correction="coral").partial_fit(frame, **roles)
    loaded = ControlWhitener.from_state(*stored(whitener))
    assert loaded.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(InputError, match="batch 'b' has 0"):
        loaded.transform(frame, roles["batch"])


def spoil(value):
    """Return values of the wrong kind, size or range in place of `value`."""
    if isinstance(value, np.ndarray):
        nan = value.copy()
        nan.flat[0] = np.nan
        return [nan, value[:-1], value[None], value.astype(np.float32), np.zeros(0)]
    wrong = [[1.5], {"a": 1}, -1, "nonsense"]
    return wrong if isinstance(value, str) or value is None else [*wrong, None]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_damage_is_refused(parameters):
    X, roles = data()
    config, tensors = stored(ControlWhitener(**parameters).fit(X, **roles))
    for part in (config, tensors):
        for name in list(part):
            kept = part.pop(name)
            with pytest.raises(ModelFileError, match=name.removeprefix("moments_")):
                ControlWhitener.from_state(config, tensors)
            for value in spoil(kept):
                part[name] = value
                with pytest.raises(ModelFileError):
                    ControlWhitener.from_state(config, tensors)
            part[name] = kept
    with pytest.raises(ModelFileError, match=r"unknown tensors: \['extra'\]"):
        ControlWhitener.from_state(config, {**tensors, "extra": np.zeros(1)})
    for name in ("scale", "spread"):
        with pytest.raises(ModelFileError, match="must be positive"):
            ControlWhitener.from_state(config, {**tensors, name: 0 * tensors[name]})
    wrong = copy.deepcopy(config)
    wrong["parameters"]["method"] = "ica"
    with pytest.raises(ModelFileError, match="method must be one of"):
        ControlWhitener.from_state(wrong, tensors)
    ControlWhitener.from_state(config, tensors)
