"""Model files: what goes in comes out, and no write ends half done."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from icfl import _files, model_file
from icfl.exceptions import InputError, InputTypeError

Tensors = dict[str, np.ndarray]

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and limits")

DTYPES = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.unsigned_integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64))
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
NAMES = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda n: n != "__metadata__")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


TENSORS: Tensors = {
    "atoms": np.arange(24, dtype=np.float32).reshape(6, 4),
    "alive": np.array([True, False, True]),
}
METADATA = {"class": "ICFL", "labels": ["HepG2", "Jurkat é"], "config": {"n": 6, "eps": 1e-6}}

# What goes in comes out


@given(st.dictionaries(NAMES, ARRAYS, max_size=4), st.dictionaries(st.text(), JSON, max_size=4))
def test_round_trip(tmp_path_factory: Any, tensors: Tensors, metadata: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.safetensors"
    model_file.write(path, tensors, metadata)
    read, read_metadata = model_file.read(path)
    assert read_metadata == metadata
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype.newbyteorder("=")
        assert read[name].flags.writeable
        np.testing.assert_array_equal(read[name], tensor, strict=tensor.dtype.isnative)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(np.arange(12.0).reshape(3, 4).T, id="transposed"),
        pytest.param(np.arange(12.0)[::-2], id="reversed"),
        pytest.param(np.broadcast_to(np.float32(1.5), (3, 2)), id="broadcast"),
        pytest.param(np.asfortranarray(np.eye(3)), id="fortran"),
    ],
)
def test_memory_layout_is_normalised(tmp_path: Path, view: np.ndarray) -> None:
    model_file.write(tmp_path / "m", {"view": view}, {})
    np.testing.assert_array_equal(model_file.read(tmp_path / "m")[0]["view"], view, strict=True)


def test_numpy_scalars_and_tuples_in_the_metadata(tmp_path: Path) -> None:
    metadata = {"n": np.int64(3), "x": np.float32(0.5), "flag": np.bool_(True), "pair": (1, 2)}
    model_file.write(tmp_path / "m", {}, metadata)
    assert model_file.read(tmp_path / "m")[1] == {"n": 3, "x": 0.5, "flag": True, "pair": [1, 2]}


def test_it_is_a_plain_safetensors_file(tmp_path: Path) -> None:
    model_file.write(tmp_path / "m", TENSORS, METADATA)
    np.testing.assert_array_equal(load_file(tmp_path / "m")["atoms"], TENSORS["atoms"])


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    written = set()
    for i in range(5):
        model_file.write(tmp_path / f"{i}", TENSORS, METADATA)
        written.add((tmp_path / f"{i}").read_bytes())
    assert len(written) == 1


def test_digits_in_the_caller_s_text_do_not_confuse_the_checksum(tmp_path: Path) -> None:
    zeros = "0" * 64
    metadata = {"sha256": zeros, zeros: zeros}
    model_file.write(tmp_path / "m", {zeros: np.arange(3)}, metadata)
    tensors, read = model_file.read(tmp_path / "m")
    assert read == metadata
    assert list(tensors) == [zeros]


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({"t": [1.0, 2.0]}, InputTypeError),
        ({"t": np.array(["a"])}, InputTypeError),
        ({"t": np.array([object()])}, InputTypeError),
        ({"t": np.zeros(2, complex)}, InputTypeError),
        ({"t": np.zeros(2, "datetime64[s]")}, InputTypeError),
        ({"t": np.zeros(2, np.longdouble)}, InputTypeError),
        ({"__metadata__": np.zeros(2)}, InputError),
        ({"\ud800": np.zeros(2)}, InputError),
        ({1: np.zeros(2)}, InputError),
    ],
)
def test_tensors_that_cannot_be_stored(tmp_path: Path, tensors: Any, error: type) -> None:
    with pytest.raises(error, match=r"^tensors"):
        model_file.write(tmp_path / "m", tensors, {})
    assert list(tmp_path.iterdir()) == []


def test_more_axes_than_every_numpy_has(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(model_file, "_MAX_NDIM", 2)
    with pytest.raises(InputError, match="at most 2 axes, got 3"):
        model_file.write(tmp_path / "m", {"t": np.zeros((1, 1, 1))}, {})


def circular() -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    metadata["self"] = metadata
    return metadata


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ([("a", 1)], InputTypeError),
        ({"a": np.zeros(2)}, InputTypeError),
        ({"a": {1: "one"}}, InputTypeError),
        ({"a": [{None: 0}]}, InputTypeError),
        ({"a": {1, 2}}, InputTypeError),
        ({"a": b"bytes"}, InputTypeError),
        (circular(), InputError),
    ],
)
def test_metadata_that_cannot_be_stored(tmp_path: Path, metadata: Any, error: type) -> None:
    with pytest.raises(error, match=r"^metadata"):
        model_file.write(tmp_path / "m", {}, metadata)
    assert list(tmp_path.iterdir()) == []


def test_metadata_beyond_the_header_s_limit(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(model_file, "_MAX_HEADER_BYTES", 10_000)
    with pytest.raises(InputError, match="at most 10000 bytes"):
        model_file.write(tmp_path / "m", {}, {"history": "x" * 10_000})
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        model_file.read(tmp_path / "missing")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught:
        model_file.read(tmp_path)
    assert os.name != "posix" or isinstance(caught.value, IsADirectoryError)


# No write ends half done


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write m: its folder does not exist.*gone"):
        model_file.write(tmp_path / "gone" / "m", TENSORS, METADATA)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        model_file.write(tmp_path / "m", TENSORS, METADATA)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_write_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: Any, failing: str, error: BaseException, existing: bool
) -> None:
    path = tmp_path / "m"
    if existing:
        model_file.write(path, {"old": np.arange(3)}, {})

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(_files, "open", lambda *a: FailingFile(*a, error=error), raising=False)
        else:
            patch.setattr(os, failing, fail)
        with pytest.raises(type(error)):
            model_file.write(path, TENSORS, METADATA)
    assert [p.name for p in tmp_path.iterdir()] == ["m"] * existing
    if existing:
        np.testing.assert_array_equal(model_file.read(path)[0]["old"], np.arange(3))


class FailingFile(io.FileIO):
    """A file on a disk that is full after 100 bytes."""

    def __init__(self, path: Path, mode: str, *, error: BaseException) -> None:
        super().__init__(path, mode.replace("b", ""))
        self.error = error

    def write(self, data: Any) -> int:
        super().write(bytes(data)[: max(0, 100 - self.tell())])
        if self.tell() >= 100:
            raise self.error
        return len(data)


@posix_only
def test_a_model_has_the_rights_of_any_new_file_and_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "m")
    old = os.umask(0o027)
    try:
        model_file.write(tmp_path / "link", TENSORS, METADATA)
    finally:
        os.umask(old)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "real" / "m").stat().st_mode) == 0o640


@posix_only
def test_sigkill_leaves_one_version_or_the_other(tmp_path: Path) -> None:
    """A process that does nothing but rewrite a file of 4 MB is killed at random moments."""
    path = tmp_path / "m"
    code = """
        import itertools, sys
        import numpy as np
        from icfl import _files, model_file

        for i in itertools.count():
            model_file.write(sys.argv[1], {"x": np.full(1_000_000, i, np.int32)}, {"i": i})
            print(i, flush=True)
    """
    rng = np.random.default_rng(0)
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(path)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        tensors, metadata = model_file.read(path)
        np.testing.assert_array_equal(tensors["x"], np.full(1_000_000, metadata["i"], np.int32))


def test_a_file_replaced_while_it_is_read_is_still_one_file(tmp_path: Path) -> None:
    path = tmp_path / "m"
    model_file.write(path, {"x": np.zeros(10)}, {"i": 0})
    with open(path, "rb") as file:
        model_file.write(path, {"x": np.ones(10)}, {"i": 1})
        tensors, metadata = model_file._read(file)
    assert metadata == {"i": 0}
    np.testing.assert_array_equal(tensors["x"], np.zeros(10))
