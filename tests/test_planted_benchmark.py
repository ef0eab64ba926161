"""The large synthetic benchmark: its size, its law, and a tenth of it."""

from __future__ import annotations

import numpy as np
import pytest

from icfl.datasets import make_synthetic_benchmark
from icfl.exceptions import InputError, InputTypeError


def test_the_full_benchmark_has_its_size_and_law():
    full = make_synthetic_benchmark()
    firing = full.model.firing
    assert full.model.components.shape == (16_384, 768)
    assert full.n_latents == 4096
    p, parents = firing.frequency, firing.parents
    assert np.count_nonzero(parents >= 0) == 128 * (4 + 16 + 64)
    assert p[0] == pytest.approx(0.4)
    assert p[-1] == pytest.approx(5e-4)
    assert p.sum() == pytest.approx(31, abs=0.5)
    chunk = full.train(10**8, n_jobs=1).chunk(12_206)
    assert chunk.X.shape == (8192, 768)
    # The number of active features of a sample varies by less than their mean's square root twice.
    assert chunk.codes.nnz / 8192 == pytest.approx(p.sum(), abs=5 * 2 * np.sqrt(31 / 8192))


def test_a_tenth_is_every_tenth_feature():
    tenth, full = make_synthetic_benchmark("tenth"), make_synthetic_benchmark()
    assert tenth.model.components.shape == (1638, 77)
    assert tenth.n_latents == 410
    roots = tenth.model.firing.frequency[:13]
    # Rank r of a tenth stands for rank 10 r - 4.5 of all; p falls in between.
    ranks = 10 * np.arange(1, 14) - 4.5
    assert (roots <= full.model.firing.frequency[np.floor(ranks).astype(int) - 1]).all()
    assert (roots[:12] >= full.model.firing.frequency[np.ceil(ranks[:12]).astype(int) - 1]).all()
    assert tenth.model.firing.frequency.sum() == pytest.approx(3.1, abs=0.05)
    train, test = tenth.train(3000), tenth.test(3000)
    both = np.concatenate([train[:], test[:]])
    fired = np.abs(both).sum(axis=1) > 0  # without noise, a sample may be zero
    assert len(np.unique(both[fired], axis=0)) == fired.sum()
    np.testing.assert_array_equal(train[:], tenth.train(9000)[:3000])
    wide = make_synthetic_benchmark(0.1, n_features=128, noise=0.1)
    assert wide.train(10)[:].shape == (10, 128)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": "half"}, InputError, "scale"),
        ({"scale": 0.001}, InputError, "scale"),
        ({"correlation": 1.0}, InputError, "correlation"),
        ({"noise": -1}, InputError, "noise"),
        ({"n_features": 0}, InputError, "n_features"),
        ({"exclusive": 1}, InputTypeError, "exclusive"),
        ({"random_state": "a"}, InputTypeError, "random_state"),
    ],
)
def test_bad_options_of_the_benchmark(options, error, message):
    with pytest.raises(error, match=message):
        make_synthetic_benchmark(**{"scale": "tenth", **options})
