"""The stateless encoders against float64 oracles, for every instruction set, layout and n_jobs."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import orthogonal_mp

import icfl
import oracles
from children import running, seconds_to_stop
from icfl import _core
from icfl.exceptions import InputError, InputTypeError

TESTS = Path(__file__).parent

# Name: (encoder, oracle), both called with X, D and a bias.
CASES = {
    "topk": (
        lambda X, D, b, **kw: icfl.encode_topk(X, D, 7, bias=b, **kw),
        lambda X, D, b: oracles.encode_topk(X, D, 7, b),
    ),
    "icfl": (
        lambda X, D, b, **kw: icfl.encode_icfl(
            X, D, n_iterations=6, atoms_per_iteration=3, bias=b, **kw
        ),
        lambda X, D, b: oracles.encode_icfl(X, D, 6, 3, 0.0, b),
    ),
    "icfl-paper": (
        lambda X, D, b, **kw: icfl.encode_icfl(
            X, D, n_iterations=4, atoms_per_iteration=5, threshold=-np.inf, bias=b, **kw
        ),
        lambda X, D, b: oracles.encode_icfl(X, D, 4, 5, -np.inf, b),
    ),
    "icfl-absolute": (
        lambda X, D, b, **kw: icfl.encode_icfl(
            X,
            D,
            n_iterations=5,
            atoms_per_iteration=2,
            threshold=0.3,
            selection="absolute",
            bias=b,
            **kw,
        ),
        lambda X, D, b: oracles.encode_icfl(X, D, 5, 2, 0.3, b, "absolute"),
    ),
    "mp": (
        lambda X, D, b, **kw: icfl.encode_mp(X, D, 9, bias=b, **kw),
        lambda X, D, b: oracles.encode_mp(X, D, 9, 0.0, b),
    ),
    "mp-positive": (
        lambda X, D, b, **kw: icfl.encode_mp(
            X, D, 6, selection="positive", threshold=0.2, bias=b, **kw
        ),
        lambda X, D, b: oracles.encode_mp(X, D, 6, 0.2, b, "positive"),
    ),
    "omp": (
        lambda X, D, b, **kw: icfl.encode_omp(X, D, 8, bias=b, **kw),
        lambda X, D, b: oracles.encode_omp(X, D, 8, 0.0, b),
    ),
    "omp-positive": (
        lambda X, D, b, **kw: icfl.encode_omp(
            X, D, 5, selection="positive", threshold=0.2, bias=b, **kw
        ),
        lambda X, D, b: oracles.encode_omp(X, D, 5, 0.2, b, "positive"),
    ),
}


def problem(n, d, M, seed=0, scale=1.0):
    """Rows, atoms (of norm 1 for even seeds, else of norms from 0.5 to 2) and a bias."""
    rng = np.random.default_rng([n, d, M, seed])
    D = rng.standard_normal((M, d))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    if seed % 2:
        D *= rng.uniform(0.5, 2.0, (M, 1))
    X = scale * rng.standard_normal((n, d))
    return X.astype(np.float32), D.astype(np.float32), rng.standard_normal(d).astype(np.float32)


def same(A, B):
    """Whether two codes are equal to the bit."""
    parts = ("indptr", "indices", "data")
    return all(getattr(A, p).tobytes() == getattr(B, p).tobytes() for p in parts)


def assert_agrees(name, X, D, bias):
    """Same supports and coefficients as the oracle on all clear rows; returns which are clear."""
    encode, oracle = CASES[name]
    Z, expected = encode(X, D, bias), oracle(X, D, bias)
    assert Z.shape == (len(X), len(D))
    assert Z.dtype == np.float32
    assert Z.indices.dtype == Z.indptr.dtype == np.int32
    assert all(np.all(np.diff(row.indices) > 0) for row in (Z[[i]] for i in range(len(X))))
    Z, clear = Z.toarray().astype(np.float64), expected.clear
    np.testing.assert_array_equal((Z != 0)[clear], (expected.codes != 0)[clear])
    assert np.all(abs(Z - expected.codes)[clear] <= expected.coefficient_error[clear, None])
    if not name.startswith("topk"):  # pursuit never moves away from the row, rounding aside
        rows = X.astype(np.float64) - bias
        left = np.linalg.norm(rows - Z @ D, axis=1)
        assert np.all(left <= np.linalg.norm(rows, axis=1) * (1 + 1e-5))
    return clear


@pytest.mark.parametrize("gram", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_oracle(name, gram, monkeypatch):
    monkeypatch.setenv("ICFL_GRAM_BUDGET", str(2**30 if gram else 0))
    shapes = [(40, 8, 30), (40, 17, 64), (30, 64, 33), (30, 64, 300), (20, 128, 520), (20, 300, 90)]
    clear = [assert_agrees(name, *problem(*shape, seed)) for shape in shapes for seed in (0, 1)]
    # Rows that no bound can decide are few.
    assert np.concatenate(clear).mean() > 0.85


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 6),
    d=st.integers(1, 300),
    M=st.integers(1, 320),
    seed=st.integers(0, 99),
    scale=st.sampled_from([1e-6, 1.0, 1e4]),
)
def test_agrees_with_oracle_for_any_shape(name, n, d, M, seed, scale):
    X, D, bias = problem(n, d, M, seed, scale)
    assert_agrees(name, X, D, bias * np.float32(scale))


def test_omp_agrees_with_scikit_learn():
    X, D, _ = problem(60, 32, 80)
    Z = icfl.encode_omp(X, D, 6).toarray()
    expected = orthogonal_mp(D.T.astype(np.float64), X.T.astype(np.float64), n_nonzero_coefs=6).T
    oracle = oracles.encode_omp(X, D, 6)
    assert oracle.clear.mean() > 0.9
    np.testing.assert_array_equal((Z != 0)[oracle.clear], (expected != 0)[oracle.clear])
    assert np.all(abs(Z - expected)[oracle.clear] <= oracle.coefficient_error[oracle.clear, None])


def test_omp_residual_is_orthogonal_to_the_support():
    X, D, bias = problem(50, 40, 100)
    Z = icfl.encode_omp(X, D, 10, bias=bias)
    residual = X.astype(np.float64) - bias - Z.toarray().astype(np.float64) @ D
    scores = residual @ D.T.astype(np.float64)
    # Coefficients carry float32 rounding, and normal equations their condition: see the oracle.
    expected = oracles.encode_omp(X, D, 10, bias=bias)
    bound = expected.residual_error[:, None] * np.linalg.norm(D, axis=1)
    assert np.all((abs(scores) <= bound)[(Z.toarray() != 0) & expected.clear[:, None]])
    assert np.median(abs(scores)) > np.median(bound)  # the bound is not trivially wide


def test_residual_shrinks_with_every_iteration():
    X, D, _ = problem(40, 30, 90)
    norms = [
        np.linalg.norm(
            X - icfl.encode_icfl(X, D, n_iterations=j, atoms_per_iteration=3) @ D, axis=1
        )
        for j in range(1, 12)
    ]
    assert np.all(np.diff(norms, axis=0) <= 1e-5 * np.linalg.norm(X, axis=1))
    assert np.all(norms[-1] < norms[0])


@pytest.mark.parametrize("name", CASES)
def test_ties_go_to_the_lower_index(name):
    # Small integers: float32 is exact, so duplicates tie exactly.
    rng = np.random.default_rng(0)
    half = rng.integers(-3, 4, (12, 16)).astype(np.float32)
    half[0] = 0
    D = np.vstack([half, half])
    X = rng.integers(-5, 6, (30, 16)).astype(np.float32)
    Z = CASES[name][0](X, D, None).toarray()
    taken = Z != 0
    # In every row the copies' first of the pair is there whenever the second is.
    assert not np.any(taken[:, 12:] & ~taken[:, :12])
    assert taken[:, :12].any(axis=1).all()
    assert not taken[:, [0, 12]].any()


def test_topk_takes_the_first_of_equal_scores():
    D = np.ones((6, 2), np.float32)
    Z = icfl.encode_topk([[1.0, 2.0]], D, 3)
    assert Z.indices.tolist() == [0, 1, 2]
    assert Z.data.tolist() == [3.0, 3.0, 3.0]


def test_duplicates_chosen_together_share_the_coefficient():
    D = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    Z = icfl.encode_icfl([[2.0, 0.0, 0.0]], D, n_iterations=1, atoms_per_iteration=2).toarray()
    np.testing.assert_allclose(Z, [[1.0, 1.0, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_degenerate_inputs_have_defined_results(name):
    encode = CASES[name][0]
    X, D, bias = problem(4, 6, 5)
    assert encode(X[:0], D, None).shape == (0, 5)
    assert encode(np.zeros((3, 6)), D, None).nnz == 0  # zero rows have nothing to explain
    assert encode(np.tile(bias, (2, 1)), D, bias).nnz == 0
    assert encode(X, np.zeros((5, 6)), None).nnz == 0  # nor do zero atoms explain anything


def test_more_nonzeros_than_atoms():
    X, D, _ = problem(20, 30, 4)
    assert np.diff(icfl.encode_topk(X, D, 99).indptr).max() <= 4
    assert np.diff(icfl.encode_omp(X, D, 99).indptr).max() <= 4
    Z = icfl.encode_icfl(X, D, n_iterations=1, atoms_per_iteration=99, threshold=-np.inf).toarray()
    ridge = 1e-6 * (D * D).sum(axis=1).max()
    full = np.linalg.solve(D.astype(float) @ D.T + ridge * np.eye(4), (X.astype(float) @ D.T).T).T
    np.testing.assert_allclose(Z, full, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_layouts_and_types_give_the_same_codes(name, tmp_path):
    encode = CASES[name][0]
    X, D, bias = problem(50, 24, 60)
    expected = encode(X, D, bias)
    wide = np.zeros((100, 48), np.float32)
    wide[::2, ::2] = X
    np.save(tmp_path / "x.npy", X)
    locked = X.copy()
    locked.flags.writeable = False
    unaligned = np.zeros(X.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(X.shape)
    unaligned[:] = X
    layouts = {
        "float64": X.astype(np.float64),
        "Fortran": np.asfortranarray(X),
        "strided": wide[::2, ::2],
        "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
        "memory map": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "read-only": locked,
        "unaligned": unaligned,
        "big-endian": X.astype(">f4"),
        "list": X.tolist(),
        "object": X.astype(object),
    }
    for layout, rows in layouts.items():
        Z = encode(rows, D, bias)
        assert same(Z, expected), layout
        assert same(encode(X, np.asfortranarray(D, np.float64), bias.tolist()), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.int8, np.int64, np.uint16, bool])
def test_other_numbers_are_converted_block_by_block(dtype, monkeypatch):
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 7)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2 if dtype is bool else 50, (40, 12)).astype(dtype)
    _, D, _ = problem(1, 12, 20)
    blocks = [icfl.encode_topk(X[i : i + 7].astype(np.float64), D, 4) for i in range(0, 40, 7)]
    Z, expected = icfl.encode_topk(X, D, 4), scipy.sparse.vstack(blocks)
    assert np.array_equal(Z.toarray(), expected.toarray())


@pytest.mark.parametrize("name", CASES)
def test_same_bits_for_any_number_of_threads(name, monkeypatch):
    X, D, bias = problem(700, 40, 130)
    for budget in (0, 2**30):
        monkeypatch.setenv("ICFL_GRAM_BUDGET", str(budget))
        one, two, five = (CASES[name][0](X, D, bias, n_jobs=n) for n in (1, 2, 5))
        for other in (two, five, CASES[name][0](X, D, bias, n_jobs=-1)):
            assert same(one, other)


def test_several_python_threads_at_once():
    X, D, bias = problem(300, 40, 130)
    expected = {name: encode(X, D, bias) for name, (encode, _) in CASES.items()}
    jobs = list(CASES) * 4
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda name: CASES[name][0](X, D, bias), jobs))
    for name, Z in zip(jobs, results, strict=True):
        assert same(Z, expected[name])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_works_in_a_forked_child():
    X, D, bias = problem(200, 40, 130)
    expected = CASES["icfl"][0](X, D, bias)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results = pool.starmap_async(_encode_in_child, [(X, D, bias)] * 4).get(timeout=30)
    assert all(same(Z, expected) for Z in results)


def _encode_in_child(X, D, bias):
    return CASES["icfl"][0](X, D, bias)


@pytest.mark.parametrize("name", CASES)
def test_bad_values_are_named(name):
    encode = CASES[name][0]
    X, D, bias = problem(20, 8, 10)
    for value in (np.nan, np.inf, -np.inf):
        bad = X.copy()
        bad[13, 2] = value
        with pytest.raises(InputError, match=r"NaN.*row 13\b"):
            encode(bad, D, bias)
        with pytest.raises(InputError, match=r"NaN.*row 13\b"):
            encode(bad.astype(np.float64), D, bias)
        atoms = D.copy()
        atoms[3, 3] = value
        with pytest.raises(InputError, match="components contains NaN"):
            encode(X, atoms, bias)
        with pytest.raises(InputError, match="bias contains NaN"):
            encode(X, D, np.full(8, value))


def test_bad_row_is_counted_from_the_start_of_the_array(monkeypatch):
    monkeypatch.setattr("icfl._validation.CHUNK_ROWS", 7)
    X = problem(20, 8, 10)[0].astype(np.float16)
    X[13, 2] = np.nan
    with pytest.raises(InputError, match=r"row 13\b"):
        icfl.encode_topk(X, np.eye(8), 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X, D: icfl.encode_topk(X[0], D, 3), InputError, "2D array"),
        (lambda X, D: icfl.encode_topk(X, D[0], 3), InputError, "2D array"),
        (lambda X, D: icfl.encode_topk(X, D[:, :5], 3), InputError, "8 features.*has 5"),
        (lambda X, D: icfl.encode_topk(X, D[:0], 3), InputError, "components"),
        (lambda X, D: icfl.encode_topk(X, D, 3, bias=[1.0]), InputError, r"bias.*\(8,\)"),
        (lambda X, D: icfl.encode_topk(X, D, 0), InputError, "n_nonzero.*>= 1, got 0"),
        (lambda X, D: icfl.encode_topk(X, D, 2.0), InputTypeError, "n_nonzero.*integer"),
        (lambda X, D: icfl.encode_topk(X, D, True), InputTypeError, "n_nonzero.*integer"),
        (lambda X, D: icfl.encode_mp(X, D, -1), InputError, "n_nonzero"),
        (lambda X, D: icfl.encode_omp(X, D, 0), InputError, "n_nonzero"),
        (lambda X, D: icfl.encode_icfl(X, D, n_iterations=0), InputError, "n_iterations"),
        (lambda X, D: icfl.encode_icfl(X, D, atoms_per_iteration=0), InputError, "atoms_per"),
        (lambda X, D: icfl.encode_icfl(X, D, threshold=np.nan), InputError, "threshold"),
        (lambda X, D: icfl.encode_icfl(X, D, threshold="a"), InputTypeError, "threshold"),
        (lambda X, D: icfl.encode_icfl(X, D, selection="up"), InputError, "selection.*'up'"),
        (lambda X, D: icfl.encode_icfl(X, D, threshold=None), InputTypeError, "threshold"),
        (lambda X, D: icfl.encode_topk(X, D, 3, n_jobs=0), InputError, "n_jobs"),
        (lambda X, D: icfl.encode_topk(X * 1j, D, 3), InputError, "[Cc]omplex"),
        (lambda X, D: icfl.encode_topk([["a"] * 8], D, 3), InputError, "numeric|convert"),
    ],
)
def test_bad_arguments_are_refused(call, error, message):
    X, D, _ = problem(4, 8, 10)
    with pytest.raises(error, match=message):
        call(X, D)


def test_bad_gram_budget_is_refused(monkeypatch):
    monkeypatch.setenv("ICFL_GRAM_BUDGET", "1 GiB")
    X, D, _ = problem(4, 8, 10)
    with pytest.raises(InputError, match="ICFL_GRAM_BUDGET"):
        icfl.encode_icfl(X, D)


def test_every_instruction_set_of_the_machine_is_known():
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        pytest.skip("no /proc/cpuinfo on this system")
    levels = _core.simd_levels()
    assert "scalar" in levels
    avx2 = {"avx2", "fma"}
    avx512 = avx2 | {"avx512f", "avx512bw"}
    assert ("avx2" in levels) == (avx2 <= flags)
    assert ("avx512" in levels) == (avx512 <= flags)
    assert ("avx512vnni" in levels) == (avx512 | {"avx512_vnni"} <= flags)


@pytest.mark.parametrize("level", ["scalar", "avx2", "avx512", "avx512vnni"])
def test_agrees_with_oracle_at_every_level(level):
    if level not in _core.simd_levels():
        pytest.skip(f"this machine has no {level}")  # the test above fails if it has
    script = f"import test_encoders; test_encoders.check_level({level!r})"
    subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"ICFL_SIMD": level, "PYTHONPATH": str(TESTS)},
        check=True,
        timeout=120,
    )


def check_level(level):
    """Run in a process of its own: the level is chosen once per process."""
    assert _core.simd_level() == level
    # Calls of 24 rows and more are screened in fixed point.
    shapes = [(9, 1, 3), (9, 3, 7), (30, 15, 31), (30, 16, 32), (9, 33, 65), (40, 130, 259)]
    for name in CASES:
        for budget in (0, 2**30):
            os.environ["ICFL_GRAM_BUDGET"] = str(budget)
            for shape in shapes:
                assert_agrees(name, *problem(*shape))


@pytest.mark.parametrize("name", ["encode_topk", "encode_icfl", "encode_omp"])
def test_interrupted_within_a_second(name):
    options = "n_iterations=400" if name == "encode_icfl" else "200"
    script = f"""
import numpy as np, icfl
rng = np.random.default_rng(0)
D = rng.standard_normal((2000, 256), dtype=np.float32)
D /= np.linalg.norm(D, axis=1, keepdims=True)
X = np.broadcast_to(rng.standard_normal(256, dtype=np.float32), (20_000_000, 256))
icfl.{name}(X[:1], D, {options})  # everything is imported
print("ready", flush=True)
try:
    icfl.{name}(X, D, {options})
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    with running(script, patience=60) as process:
        # Into the call, past the Gram matrix.
        assert seconds_to_stop(process, after=1.5) < 1.0
