"""Readers of activations and metadata, and files that appear whole or not at all."""

from __future__ import annotations

import gzip
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import icfl
from icfl.exceptions import InputError
from icfl.io import Table, new_folder, open_activations, read_metadata, write_beside
from icfl.io.csv_reader import BLOCK_ROWS

X = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
PLATES = np.array(["A", "A", "B", "B", "C", "C", "C"])
DOSES = np.array([0, 1, 10, 0, 1, 10, 0])


def write_csv(path, delimiter=","):
    lines = [delimiter.join(["plate", "f_a", "dose", "f_b", "f_c"])]
    for row, plate, dose in zip(X, PLATES, DOSES, strict=True):
        a, b, c = (repr(float(value)) for value in row)
        lines.append(delimiter.join([plate, a, str(dose), b, c]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_parquet(path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"plate": PLATES, "f_a": X[:, 0], "dose": DOSES, "f_b": X[:, 1], "f_c": X[:, 2]}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_a_table_gives_features_and_metadata(tmp_path, suffix):
    path = tmp_path / f"wells{suffix}"
    if suffix == ".parquet":
        write_parquet(path)
    elif suffix == ".csv.gz":
        path.write_bytes(gzip.compress(write_csv(tmp_path / "plain.csv").read_bytes()))
    else:
        write_csv(path, "\t" if suffix == ".tsv" else ",")
    found = open_activations(path, not_features=["dose"])
    # float32 written with repr and read back is the same float32.
    np.testing.assert_array_equal(found.X, X)
    assert found.X.dtype == np.float32
    assert found.feature_names == ("f_a", "f_b", "f_c")
    assert list(found.metadata) == ["plate", "dose"]
    np.testing.assert_array_equal(found.metadata["plate"], PLATES)
    np.testing.assert_array_equal(found.metadata["dose"], DOSES)


def test_patterns_choose_features_in_the_order_of_the_file(tmp_path):
    path = write_csv(tmp_path / "wells.csv")
    assert open_activations(path, features=["f_c", "f_a*"]).feature_names == ("f_a", "f_c")
    assert open_activations(path).feature_names == ("f_a", "dose", "f_b", "f_c")
    with pytest.raises(InputError, match=r"no column of wells.csv matches the features 'g_\*'"):
        open_activations(path, features=["g_*"])
    with pytest.raises(InputError, match="feature column 'plate' does not hold numbers"):
        open_activations(path, features=["*"])


def test_pycytominer_metadata_columns_are_not_features(tmp_path):
    (tmp_path / "w.csv").write_text("Metadata_Site,Cells_Area\n1,2.5\n2,3.5\n")
    assert open_activations(tmp_path / "w.csv").feature_names == ("Cells_Area",)


def test_npy_is_mapped_and_chunks_cover_it(tmp_path):
    np.save(tmp_path / "x.npy", X)
    found = open_activations(tmp_path / "x.npy")
    assert isinstance(found.X, np.memmap)
    chunks = list(found.chunks(2))
    assert [rows.stop - rows.start for rows, _ in chunks] == [2, 2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([values for _, values in chunks]), X)
    np.testing.assert_array_equal(np.asarray(found), X)


def test_estimators_take_activations_as_they_are(tmp_path):
    np.save(tmp_path / "x.npy", X)
    opened = open_activations(tmp_path / "x.npy")
    model = icfl.ICFL(4, n_iterations=1, atoms_per_iteration=1, max_iter=2, random_state=0)
    whitener = icfl.ControlWhitener()
    np.testing.assert_array_equal(model.fit(opened).components_, model.fit(X).components_)
    np.testing.assert_array_equal(whitener.fit(opened).transform(opened), whitener.transform(X))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("f2", "f4"), ("f4", "f4"), ("f8", "f8"), (">f4", "f4"), ("i2", "f4"), ("i8", "f8")],
)
def test_chunks_are_native_floats_that_hold_the_values(dtype, expected):
    values = np.arange(6).reshape(3, 2).astype(dtype)
    [(_, chunk)] = open_activations(values).chunks()
    assert chunk.dtype == np.dtype(expected)
    np.testing.assert_array_equal(chunk, [[0, 1], [2, 3], [4, 5]])


def test_npz_arrays_of_one_length_are_metadata(tmp_path):
    extra = {"names": np.array(["a", "b", "c"]), "meta": np.array("{}")}
    np.savez(tmp_path / "x.npz", X=X, plate=PLATES, dose=DOSES, **extra)
    found = open_activations(tmp_path / "x.npz")
    np.testing.assert_array_equal(found.X, X)
    assert list(found.metadata) == ["plate", "dose"]
    assert list(read_metadata(tmp_path / "x.npz")) == ["plate", "dose"]


def test_feature_names_are_no_metadata_even_if_as_many_as_samples(tmp_path):
    np.savez(tmp_path / "x.npz", X=X[:3], plate=PLATES[:3], feature_names=np.array(list("abc")))
    assert list(open_activations(tmp_path / "x.npz").metadata) == ["plate"]


def test_npz_with_several_matrices_asks_which(tmp_path):
    np.savez(tmp_path / "x.npz", left=X, right=2 * X)
    with pytest.raises(InputError, match="several arrays"):
        open_activations(tmp_path / "x.npz")
    np.testing.assert_array_equal(open_activations(tmp_path / "x.npz", array="right").X, 2 * X)
    with pytest.raises(InputError, match=r"no array 'rigth' .did you mean 'right'"):
        open_activations(tmp_path / "x.npz", array="rigth")


def test_parquet_list_column_is_the_matrix(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float32(), 3)):
        table = pa.table({"embedding": pa.array(X.tolist(), kind), "plate": PLATES})
        pq.write_table(table, tmp_path / "x.parquet")
        found = open_activations(tmp_path / "x.parquet")
        np.testing.assert_array_equal(found.X, X)
        assert list(found.metadata) == ["plate"]
    pq.write_table(pa.table({"e": [[1.0], [1.0, 2.0]]}), tmp_path / "ragged.parquet")
    with pytest.raises(InputError, match="not all of one length"):
        open_activations(tmp_path / "ragged.parquet")


def test_csv_types(tmp_path):
    (tmp_path / "t.csv").write_text(
        "\ufeffwell,barcode,n,x,flag,note\n"
        'A01,007,1,1.5,True,"two, words"\n'
        "A02,2_1,2,,False,\n"
        "A03,12,3,-inf,TRUE,x\n",
        encoding="utf-8",
    )
    table = read_metadata(tmp_path / "t.csv")
    kinds = {name: table[name].dtype.kind for name in table}
    assert kinds == {"well": "U", "barcode": "U", "n": "i", "x": "f", "flag": "b", "note": "U"}
    assert table["barcode"].tolist() == ["007", "2_1", "12"]
    assert table["flag"].tolist() == [True, False, True]
    assert table["note"].tolist() == ["two, words", "", "x"]
    np.testing.assert_array_equal(table["x"], [1.5, np.nan, -np.inf])


@pytest.mark.parametrize("place", [0, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 5])
def test_one_word_makes_a_column_text_wherever_it_stands(tmp_path, place):
    cells = [str(i + 10) for i in range(2 * BLOCK_ROWS + 10)]
    cells[place] = "unknown"
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{cell},1\n" for cell in cells))
    table = read_metadata(tmp_path / "t.csv")
    assert table["a"].tolist() == cells
    assert table["b"].dtype == np.int64


@given(
    st.lists(
        st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=40, deadline=None)
def test_float32_survives_csv(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    lines = [",".join(repr(float(np.float32(value))) for value in row) for row in rows]
    path.write_text("a,b\n" + "\n".join(lines) + "\n")
    np.testing.assert_array_equal(open_activations(path).X, np.array(rows, dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "column names but no rows"),
        ("a,a\n1,2\n", "two columns named 'a'"),
        ("1.5,2.5\n3,4\n", "begins with numbers"),
        ("a,b\n1,2\n3\n", "line 3 has 1 cells, the first line has 2"),
        ('a,b\n"1,2\n', "not a readable table"),
        ("a,b\nx,y\n", "no numeric columns"),
    ],
)
def test_bad_csv(tmp_path, content, message):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        open_activations(tmp_path / "x.csv")


def test_bytes_that_are_no_table(tmp_path):
    noise = np.random.default_rng(1).bytes(500)
    for name in ("x.csv", "x.csv.gz", "x.npy", "x.npz", "x.parquet"):
        if name == "x.parquet":
            pytest.importorskip("pyarrow")
        (tmp_path / name).write_bytes(noise)
        with pytest.raises(InputError, match="not a readable"):
            open_activations(tmp_path / name)


def test_nothing_is_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "x.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", X=X, bomb=np.array([Bomb()], dtype=object))
    for name in ("raw.npy", "x.npy", "x.npz"):
        with pytest.raises(InputError):
            open_activations(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_truncated_npz(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", X=X, plate=PLATES)
    whole = (tmp_path / "whole.npz").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "x.npz").write_bytes(whole[:length])
        with pytest.raises(InputError):
            open_activations(tmp_path / "x.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_located(value):
    bad = X.copy()
    bad[5, 1] = value
    with pytest.raises(InputError, match=r"in row 5, feature 1 \(counted from 0\)"):
        list(open_activations(bad).chunks(2))


def test_blank_feature_is_named(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,\n")
    with pytest.raises(InputError, match=r"x\.csv holds nan in row 1, feature 'b'"):
        list(open_activations(tmp_path / "x.csv").chunks())


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"shape \(3,\), expected two dimensions"),
        (np.zeros((2, 3, 4)), "expected two dimensions"),
        (np.zeros((0, 3)), "no activations"),
        (np.zeros((3, 0)), "no activations"),
        (np.zeros((2, 2), dtype=bool), "expected numbers"),
        (np.array([["a", "b"]]), "expected numbers"),
    ],
)
def test_arrays_that_are_no_activations(tmp_path, array, message):
    with pytest.raises(InputError, match=message):
        open_activations(array)
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(InputError, match=message):
        open_activations(tmp_path / "x.npy")


def test_unknown_format_and_missing_file(tmp_path):
    (tmp_path / "x.xlsx").write_text("")
    with pytest.raises(InputError, match=r"unknown format, expected one of \.npy"):
        open_activations(tmp_path / "x.xlsx")
    for name in ("x.npy", "x.npz", "x.csv"):
        with pytest.raises(FileNotFoundError):
            open_activations(tmp_path / name)


def test_table_matches_by_type():
    table = Table(
        {"t": np.array(["a", "1"]), "n": np.array([1, 2]), "flag": np.array([True, False])}
    )
    assert table.matches("t", "1").tolist() == [False, True]
    assert table.matches("n", "1.0").tolist() == [True, False]
    assert table.matches("flag", "no").tolist() == [False, True]
    with pytest.raises(InputError, match="holds numbers, got 'x'"):
        table.matches("n", "x")
    with pytest.raises(InputError, match="true or false, got '2'"):
        table.matches("flag", "2")
    with pytest.raises(InputError, match="no row of metadata has t = 'b'; values are 1, a"):
        table.matches("t", "b")
    with pytest.raises(InputError, match=r"no column 'flags' .did you mean 'flag'.*t, n, flag"):
        table["flags"]


def test_tables_join_by_row():
    left = Table({"a": np.arange(3)}, source="left")
    both = left.joined(Table({"b": np.arange(3), "a": np.ones(3)}, source="right"))
    assert list(both) == ["a", "b"]
    np.testing.assert_array_equal(both["a"], np.ones(3))
    with pytest.raises(InputError, match="right has 2 rows, left has 3"):
        left.joined(Table({"b": np.arange(2)}, source="right"))
    with pytest.raises(InputError, match="column 'b' has 2 rows, expected 3"):
        Table({"a": np.arange(3), "b": np.arange(2)})


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")

    def interrupted():
        with write_beside(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]
    with write_beside(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_failed_folder_leaves_nothing(tmp_path):
    def failing():
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert os.listdir(tmp_path) == []
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("1")
    assert (tmp_path / "deep" / "out" / "a").read_text() == "1"


def test_an_existing_folder_is_kept_or_updated(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(InputError, match="exists already"), new_folder(target):
        pass
    with new_folder(target, overwrite=True) as folder:
        (folder / "a").write_text("1")
    assert sorted(os.listdir(target)) == ["a", "mine"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a folder"), new_folder(tmp_path / "file"):
        pass
