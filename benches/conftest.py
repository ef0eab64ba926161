"""Inputs of the pytest-benchmark suite: big enough that kernels dominate, small enough to repeat.

pytest benches                                     time every public call
pytest benches --benchmark-compare                 beside the last saved run
pytest benches --benchmark-disable                 only see that all still runs
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speed.inputs import Problem, correlated_rows, labelled_codes, planted


@pytest.fixture(scope="session")
def problem() -> Problem:
    """1,024 rows, 256 features, 2,048 atoms."""
    return planted(1024, 256, 2048, 16)


@pytest.fixture(scope="session")
def rows() -> NDArray[np.float32]:
    """20,000 correlated rows of 256 features."""
    return correlated_rows(20_000, 256)


@pytest.fixture(scope="session")
def codes_and_labels():
    """20,000 codes of 50 non-zeros over 2,048 components, and 200 labels."""
    return labelled_codes(20_000, 2048, 50, 200)
