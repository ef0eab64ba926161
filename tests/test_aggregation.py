"""Codes of groups against loops over dense rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import icfl
from icfl import Aggregator, aggregate, aggregation
from icfl.exceptions import InputError, InputTypeError

EPS = np.finfo(np.float64).eps
HOWS = ["mean", "max", "frequency"]


def by_definition(Z, groups, how):
    """One group at a time, in float64; groups sorted, None left out."""
    Z = np.asarray(Z, np.float64)
    out = []
    for group in sorted({g for g in groups if g is not None}):
        rows = Z[[g == group for g in groups]]
        reduced = {
            "mean": rows.mean(axis=0),
            "max": rows.max(axis=0),
            "frequency": (rows != 0).mean(axis=0),
        }
        out.append(reduced[how])
    return np.array(out)


@st.composite
def rows_and_groups(draw):
    n, width = draw(st.integers(1, 40)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Z = np.where(rng.random((n, width)) < 0.6, rng.normal(size=(n, width)), 0.0)
    names = np.array([None, "a", "b", "c", "d"], dtype=object)
    groups = names[rng.integers(0, 5, n)]
    groups[rng.integers(n)] = "b"  # at least one
    return Z, groups, draw(st.sampled_from([2, 7, 1 << 22]))


@settings(max_examples=60, deadline=None)
@given(case=rows_and_groups(), how=st.sampled_from(HOWS))
def test_values_are_those_of_a_loop_over_groups(case, how):
    Z, groups, chunk = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "_CHUNK_STORED", chunk)
        results = [aggregate(given_rows, groups, how) for given_rows in (Z, sparse.csr_array(Z))]
    expected = by_definition(Z, groups, how)
    # A sum of at most 40 terms in any order, and a division; ours and NumPy's.
    bound = 2 * 41 * EPS * np.abs(Z).max(initial=1.0) if how == "mean" else 0.0
    for result in results:
        assert result.codes.dtype == np.float64
        assert result.codes.has_canonical_format
        assert result.codes.data.all()
        np.testing.assert_allclose(result.codes.toarray(), expected, rtol=0, atol=bound)
        present = sorted({g for g in groups if g is not None})
        assert result.groups["group"].tolist() == present
        assert result.n_rows.tolist() == [(groups == name).sum() for name in present]


@settings(max_examples=60, deadline=None)
@given(case=rows_and_groups(), how=st.sampled_from(HOWS), seed=st.integers(0, 99))
def test_batches_and_machines_merge(case, how, seed):
    Z, groups, _ = case
    rng = np.random.default_rng(seed)
    machines = [Aggregator(how), Aggregator(how)]
    for rows in np.array_split(rng.permutation(len(Z)), 5):
        if len(rows):
            machines[rng.integers(2)].update(sparse.csr_array(Z[rows]), groups[rows])
    before = repr(machines[1])
    merged, whole = machines[0].merge(machines[1]).result(), aggregate(Z, groups, how)
    assert repr(machines[1]) == before
    assert machines[0].n_missing == sum(g is None for g in groups)
    np.testing.assert_array_equal(merged.n_rows, whole.n_rows)
    assert merged.groups["group"].tolist() == whole.groups["group"].tolist()
    if how == "mean":
        # |fl(sum) - sum| <= (n - 1) eps sum|z| in any order [Higham 2002, 4.4], both times; then
        # a division.
        size = aggregate(np.abs(Z), groups).codes.toarray()
        bound = 2 * len(Z) * EPS * size
        assert (np.abs(merged.codes.toarray() - whole.codes.toarray()) <= bound).all()
    else:
        np.testing.assert_array_equal(merged.codes.toarray(), whole.codes.toarray())


def test_zeros_that_are_not_stored_take_part_in_the_maximum():
    Z = sparse.csr_array([[-1.0, -2.0, 0.0], [-3.0, 0.0, 0.0], [-2.0, -4.0, 1.0]])
    assert aggregate(Z, ["a", "a", "a"], "max").codes.toarray().tolist() == [[-1.0, 0.0, 1.0]]
    stored = sparse.csr_array(([-1.0, 0.0], [0, 0], [0, 1, 2]), shape=(2, 1))  # one zero stored
    result = aggregate(stored, ["a", "a"], "max").codes
    assert result.toarray().tolist() == [[0.0]]
    assert result.nnz == 0
    assert aggregate(stored, ["a", "a"], "frequency").codes.toarray().tolist() == [[0.5]]
    assert stored.nnz == 2


def test_several_columns_are_groups_by_combination():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {"plate": [2, 1, 2, 1, 2], "well": ["B", "A", "B", "B", None], "n": [1.0, 2, 4, 8, 16]}
    )
    expected = table.groupby(["plate", "well"])["n"].mean()  # pandas, too, drops missing keys
    for columns in (table[["plate", "well"]], {"plate": table.plate, "well": table.well}):
        result = aggregate(table[["n"]].to_numpy(), columns)
        assert list(zip(*result.groups.values(), strict=True)) == expected.index.tolist()
        assert result.codes.toarray().ravel().tolist() == expected.tolist()
    frame = result.to_frame()
    assert frame.columns.tolist() == ["plate", "well", "n_rows"]
    assert frame.n_rows.tolist() == [1, 1, 2]
    assert "n_groups=3" in repr(result)


def test_means_of_means_are_means():
    """Token to cell to well equals token to well where cells have equally many tokens."""
    rng = np.random.default_rng(0)
    Z = sparse.random_array((240, 9), density=0.3, format="csr", rng=rng)
    cell = np.repeat(np.arange(24), 10)
    cells = aggregate(Z, cell)
    wells = aggregate(cells.codes, cells.groups["group"] // 6)
    direct = aggregate(Z, cell // 6)
    np.testing.assert_allclose(wells.codes.toarray(), direct.codes.toarray(), rtol=70 * EPS)


def test_dtypes_and_sums_in_float64():
    Z = np.array([[1.0], [2.0**-30], [-1.0]], dtype=np.float32)
    result = aggregate(Z, ["a"] * 3)  # in float32 the sum would be 0
    assert result.codes.dtype == np.float32
    assert result.codes.toarray()[0, 0] == np.float32(2.0**-30 / 3)
    mixed = Aggregator().update(Z, ["a"] * 3).update(Z.astype(np.float64), ["a"] * 3)
    assert mixed.result().codes.dtype == np.float64
    integers = aggregate(sparse.csr_array([[2], [3]]), [0, 0])
    assert integers.codes.toarray().tolist() == [[2.5]]
    cancelled = aggregate([[1.0], [-1.0]], ["a", "a"]).codes
    assert cancelled.nnz == 0


def test_tensors_dense_and_sparse():
    torch = pytest.importorskip("torch")
    Z = np.array([[1.0, 0.0], [0.0, -3.0], [5.0, 1.0]], dtype=np.float32)
    groups = ["x", "y", "x"]
    expected = aggregate(Z, groups).codes.toarray()
    for tensor in (torch.from_numpy(Z), torch.from_numpy(Z).to_sparse_csr()):
        result = aggregate(tensor, groups).codes
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result.toarray(), expected)


def test_dense_rows_of_several_spans(monkeypatch):
    monkeypatch.setattr(aggregation, "_SPAN_VALUES", 64)
    rng = np.random.default_rng(3)
    Z, groups = rng.integers(-2, 3, (100, 8)), rng.integers(0, 7, 100)
    for how in HOWS:
        np.testing.assert_array_equal(
            aggregate(Z, groups, how).codes.toarray(),
            aggregate(sparse.csr_array(Z), groups, how).codes.toarray(),
        )


def test_a_group_without_codes_has_an_empty_row():
    result = aggregate(sparse.csr_array([[0.0, 0.0], [0.0, 2.0]]), ["empty", "full"])
    assert np.diff(result.codes.indptr).tolist() == [0, 1]
    nothing = aggregate(sparse.csr_array((3, 2)), ["a", "b", "a"], "max")
    assert nothing.codes.shape == (2, 2)
    assert nothing.n_rows.tolist() == [2, 1]


def test_what_does_not_fit_is_refused_and_nothing_is_added():
    stream = Aggregator().update([[1.0, 2.0]], ["a"])
    with pytest.raises(InputError, match="Z must be finite"):
        stream.update([[np.nan, 0.0]], ["a"])
    with pytest.raises(InputError, match="same n_components"):
        stream.update([[1.0]], ["a"])
    with pytest.raises(InputError, match="2 for 1 rows"):
        stream.update([[1.0, 2.0]], ["a", "b"])
    with pytest.raises(InputError, match="columns"):
        stream.update([[1.0, 2.0]], {"plate": [1]})
    with pytest.raises(InputError, match="how"):
        stream.merge(Aggregator("max").update([[1.0, 2.0]], ["a"]))
    with pytest.raises(InputError, match="how must be one of"):
        aggregate([[1.0]], ["a"], "median")
    with pytest.raises(InputError, match="no row"):
        aggregate([[1.0]], [None])
    with pytest.raises(InputError, match="at least one column"):
        aggregate([[1.0]], {})
    with pytest.raises(InputError, match="real numbers"):
        aggregate(sparse.csr_array([[1j]]), ["a"])
    assert stream.result().codes.toarray().tolist() == [[1.0, 2.0]]
    mixed = Aggregator().update([[1.0]], ["a"]).update([[1.0]], [1])
    with pytest.raises(InputTypeError, match="mixes strings"):
        mixed.result()


def test_public_names():
    assert icfl.aggregate is aggregate
    assert "n_groups=1" in repr(Aggregator().update([[1.0]], ["a"]))
