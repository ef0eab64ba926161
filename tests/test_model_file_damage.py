"""Damaged model files: each is refused with a ModelFileError of one line, before memory is taken.

Edited headers are sealed with a right checksum (`join`), so that each is refused for what it says.
Bytes lost, flipped or moved are left to the checksum, which is there for them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from icfl import model_file
from icfl.exceptions import ModelFileError

Tensors = dict[str, np.ndarray]

TENSORS: Tensors = {
    "atoms": np.arange(24, dtype=np.float32).reshape(6, 4),
    "mean": np.linspace(-1, 1, 4),
    "alive": np.array([True, False, True]),
    "counts": np.arange(5),
    "nothing": np.zeros((0, 4), np.float32),
}
METADATA = {
    "class": "ICFL",
    "labels": ["HepG2", "U2OS", "Jurkat é"],
    "config": {"n": 6, "eps": 1e-6},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a good file."""
    path = tmp_path_factory.mktemp("model") / "m"
    model_file.write(path, TENSORS, METADATA)
    return path.read_bytes()


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def join(header: bytes | dict[str, Any], data: bytes, *, sealed: bool = True) -> bytes:
    """Return a file of this header and data; sealed: with the right checksum, if it has a place."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    result = len(text).to_bytes(8, "little") + text + data
    place = re.search(rb'sha256\\": ?\\"([0-9a-f]{64})', result) if sealed else None
    if place:
        before, after = result[: place.start(1)], result[place.end(1) :]
        result = before + hashlib.sha256(before + b"0" * 64 + after).hexdigest().encode() + after
    return result


def with_entry(whole: bytes, name: str, **changes: object) -> bytes:
    header, data = split(whole)
    header[name] = {**header[name], **changes}
    return join(header, data)


def with_envelope(whole: bytes, *, sealed: bool = True, **changes: object) -> bytes:
    header, data = split(whole)
    envelope = json.loads(header["__metadata__"]["icfl"])
    header["__metadata__"]["icfl"] = json.dumps({**envelope, **changes})
    return join(header, data, sealed=sealed)


def damaged_entries(whole: bytes) -> Iterator[bytes]:
    """Headers that lie about one tensor."""
    begin, end = split(whole)[0]["atoms"]["data_offsets"]
    shapes: list[object] = [
        [6, 5], [6], [], [24, 1, 2], [-6, -4], [-1, 24], [6.0, 4], [True, 24], ["6", 4], None,
        "6, 4", {"0": 6}, [[6, 4]], [2**62, 2**62], [2**64 + 6, 4], [10**400, 1], [2**40, 2**20],
        [0, 4], [1] * 40 + [6, 4], [6, 4, None],
    ]  # fmt: skip
    dtypes: list[object] = [
        "F64", "F16", "BOOL", "I8", "BF16", "F8_E4M3", "C64", "float32", "O", "", None, 4, ["F32"],
    ]  # fmt: skip
    offsets: list[object] = [
        [begin, end + 4], [begin + 4, end], [begin - 4, end - 4], [begin + 4, end + 4],
        [end, begin], [begin], [begin, end, end], [], None, "0", [str(begin), str(end)],
        [float(begin), float(end)], [-96, 0], [2**63, 2**63 + 96], [2**64, 2**64 + 96],
        [len(whole), len(whole) + 96], [None, None], [False, 96],
    ]  # fmt: skip
    yield from (with_entry(whole, "atoms", shape=shape) for shape in shapes)
    yield from (with_entry(whole, "atoms", dtype=dtype) for dtype in dtypes)
    yield from (with_entry(whole, "atoms", data_offsets=pair) for pair in offsets)
    for shape in ([2**63, 0], [0, 2**62, 2**62], [0, 10**30], [0] * 33):
        yield with_entry(whole, "nothing", shape=shape)
    yield with_entry(whole, "atoms", extra=1)
    for entry in (None, [], "F32", 7, {}, {"dtype": "F32"}):
        header, data = split(whole)
        yield join({**header, "atoms": entry}, data)


def damaged_layouts(whole: bytes) -> Iterator[bytes]:
    """Tensors each fine by itself that do not fill the file exactly once."""
    header, data = split(whole)
    yield join({**header, "twice": header["atoms"]}, data)
    yield join({k: v for k, v in header.items() if k != "atoms"}, data)
    yield join({k: v for k, v in header.items() if k != "alive"}, data)
    yield join({k: v for k, v in header.items() if k == "__metadata__"}, data)
    yield join(header, data + b"\0")
    yield join(header, data[:-1])
    yield join(header, b"")
    far = {"dtype": "F32", "shape": [0], "data_offsets": [len(data) + 8, len(data) + 8]}
    yield join({**header, "far": far}, data)
    yield join({**header, "inside": {**far, "data_offsets": [4, 4]}}, data)


def damaged_envelopes(whole: bytes) -> Iterator[bytes]:
    """Metadata that are missing, foreign, of another version or without a checksum."""
    header, data = split(whole)
    tensors = {k: v for k, v in header.items() if k != "__metadata__"}
    good = header["__metadata__"]["icfl"]
    yield join(tensors, data)
    texts = ("", "null", "[]", "7", "{", "\ud800", '{"format_version":1}', good + "}", good[:-1])
    for icfl in (*texts, good.replace("{", '{"format_version":1,', 1), None, 7, {}):
        yield join({**tensors, "__metadata__": {"icfl": icfl}}, data)
    for outer in (None, [], "icfl", {}, {"format": "pt"}, {"format": "icfl"}):
        yield join({**tensors, "__metadata__": outer}, data)
    for version in (0, 2, -1, 10**9, 10**400, 1.0, 1.5, "1", None, True, [1]):
        yield with_envelope(whole, format_version=version)
    for digest in (None, "", "0" * 64, "g" * 64, "A" * 64, "0" * 63, 0, ["0" * 64]):
        yield with_envelope(whole, sha256=digest, sealed=False)
    for metadata in (None, [], "config", 7):
        yield with_envelope(whole, metadata=metadata)


def damaged_headers(whole: bytes) -> Iterator[bytes]:
    """Lengths and texts that are no header, and files of other kinds."""
    header, data = split(whole)
    text = json.dumps(header).encode()
    for length in (0, 1, 7, len(text) - 1, len(text) + 1, len(whole), 2**31, 2**63, 2**64 - 1):
        yield length.to_bytes(8, "little") + text + data
    yield join(b"[" * 200_000, data)
    yield join(b'{"a":' * 50_000, data)
    yield join(text.replace(b'"atoms"', b'"mean"', 1), data)  # one name twice
    yield join(text.replace(b'"dtype"', b'"shape":[],"dtype"', 1), data)
    for garbage in (b"\xff", b"\xc3", b"\xed\xa0\x80"):
        yield join(text.replace(b"atoms", b"at" + garbage + b"ms", 1), data)
    for changed in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b'"icfl"',
        b"{" + text,
        text + b"}",
        b"\0" + text,
    ):
        yield join(changed, data)
    yield join(text.decode().encode("utf-16"), data)
    yield join(b"\xef\xbb\xbf" + text, data)
    yield from (b"", b"\0", b"{}", b"\0" * 8, b"\0" * 4096, b"\xff" * 4096, b"import os\n" * 50)
    yield from (pickle.dumps(TENSORS, protocol) for protocol in range(6))
    yield save(TENSORS)
    yield save(TENSORS, metadata={"format": "np"})
    for writer in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        writer(buffer, **TENSORS)
        yield buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m.safetensors", whole)
    yield buffer.getvalue()


def damaged_bytes(whole: bytes) -> Iterator[bytes]:
    """Files cut short, flipped bits, and stretches lost, doubled, zeroed or swapped."""
    rng = np.random.default_rng(20250)
    yield from (whole[:size] for size in rng.choice(len(whole), 150, replace=False))
    for bit in rng.choice(8 * len(whole), 550, replace=False):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield bytes(flipped)
    for _ in range(60):
        a, b = sorted(rng.choice(len(whole), 2, replace=False))
        stretch = whole[a:b]
        yield whole[:a] + whole[b:]
        yield whole[:b] + stretch + whole[b:]
        if any(stretch):
            yield whole[:a] + bytes(b - a) + whole[b:]
        if stretch != stretch[::-1]:
            yield whole[:a] + stretch[::-1] + whole[b:]


def test_a_thousand_damaged_files_are_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "m.safetensors"
    makers = [damaged_entries, damaged_layouts, damaged_envelopes, damaged_headers, damaged_bytes]
    refused = 0
    for make in makers:
        for data in make(whole):
            assert data != whole, make.__name__
            path.write_bytes(data)
            with pytest.raises(ModelFileError, match=re.escape(str(path))) as caught:
                model_file.read(path)
            assert len(str(caught.value)) < len(str(path)) + 400
            assert "\n" not in str(caught.value)
            refused += 1
    assert refused >= 1000
    path.write_bytes(join(*split(whole)))  # the helpers themselves do no damage
    assert model_file.read(path)[1] == METADATA


def test_every_single_bit_counts(tmp_path: Path) -> None:
    model_file.write(tmp_path / "m", {"x": np.arange(2, dtype=np.int8)}, {"a": "é"})
    whole = (tmp_path / "m").read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "m").write_bytes(flipped)
        with pytest.raises(ModelFileError):
            model_file.read(tmp_path / "m")


def test_each_reason_is_said(tmp_path: Path, whole: bytes) -> None:
    reasons = {
        "header fits": whole[:5],
        "not one that icfl wrote": save(TENSORS),
        "has format version 7; this version of icfl reads version 1": with_envelope(
            whole, format_version=7
        ),
        "checksum does not match": whole[:-1] + bytes([whole[-1] ^ 1]),
        "overlap or leave a gap": next(damaged_layouts(whole)),
        "has dtype 'BF16'": with_entry(whole, "atoms", dtype="BF16"),
        "duplicate key": join(
            json.dumps(split(whole)[0]).encode().replace(b'"atoms"', b'"mean"', 1), split(whole)[1]
        ),
    }
    for reason, data in reasons.items():
        (tmp_path / "m").write_bytes(data)
        with pytest.raises(ModelFileError, match=reason):
            model_file.read(tmp_path / "m")


def lying_files(whole: bytes) -> Iterator[bytes]:
    """Small files that claim terabytes, with everything else in order."""
    header, data = split(whole)
    size = 2**42
    atoms = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    yield join({"__metadata__": header["__metadata__"], "atoms": atoms}, data)
    yield with_entry(whole, "atoms", shape=[2**20, 2**20])
    yield (2**42).to_bytes(8, "little") + whole[8:]
    yield (99_000_000).to_bytes(8, "little") + whole[8:]


def test_claims_are_checked_before_memory_is_taken(tmp_path: Path, whole: bytes) -> None:
    for data in lying_files(whole):
        (tmp_path / "m").write_bytes(data)
        tracemalloc.start()
        try:
            with pytest.raises(ModelFileError):
                model_file.read(tmp_path / "m")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Measured: 40 kB, the header parsed and the error's text. A claim believed is gigabytes.
        assert peak < 1_000_000


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc for the limit")
def test_claims_are_refused_within_a_tight_memory_limit(tmp_path: Path, whole: bytes) -> None:
    """What `tracemalloc` cannot see, the Rust side of safetensors, meets the system's limit."""
    paths = []
    for i, data in enumerate(lying_files(whole)):
        paths.append(str(tmp_path / f"{i}"))
        (tmp_path / f"{i}").write_bytes(data)
    code = """
        import resource, sys
        from icfl import model_file
        from icfl.exceptions import ModelFileError

        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000, -1))
        for path in sys.argv[1:]:
            try:
                model_file.read(path)
            except ModelFileError:
                print("refused")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * len(paths)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "m").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelFileError):
        model_file.read(tmp_path / "m")
    assert not (tmp_path / "exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))  # the bomb works
    assert (tmp_path / "exploded").exists()
