"""The container that models and checkpoints are kept in: safetensors that vouch for themselves.

A file is a plain safetensors file, readable by any tool that reads those::

    8 bytes   length of the header, unsigned little-endian
    header    JSON: "__metadata__" and one entry {dtype, shape, data_offsets} per tensor
    data      the tensors, back to back

``"__metadata__"`` has one key, the format's name ``"icfl"``: safetensors writes several keys in
random order, with one, equal contents give equal bytes. Its text is JSON again: format version,
SHA-256 and the caller's metadata. The digest is that of the whole file with its own 64 digits read
as zeros, so that no flipped bit passes, wherever it falls.

`read` believes nothing. What the header claims is checked against the size of the file before
memory is taken for it, the digest before any array is made, and nothing is ever unpickled. `write`
works on a temporary file in the same folder and renames it, so that the name always holds either
the old file or the new one, whole.

References
----------
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import reprlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as _deserialize
from safetensors.numpy import save as _serialize

from icfl._files import replace_file
from icfl.exceptions import InputError, InputTypeError, ModelFileError

__all__ = ["FORMAT", "FORMAT_VERSION", "read", "write"]

FORMAT = "icfl"
FORMAT_VERSION = 1

# What both safetensors and NumPy can hold, with bytes per item.
_DTYPES = {
    "BOOL": ("bool", 1),
    "I8": ("int8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "U8": ("uint8", 1),
    "U16": ("uint16", 2),
    "U32": ("uint32", 4),
    "U64": ("uint64", 8),
    "F16": ("float16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
}
_WRITABLE = frozenset(name for name, _ in _DTYPES.values())
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_MAX_NDIM = 32  # NumPy 1's limit; a file must not depend on the version that reads it
_MAX_ARRAY_BYTES = 2**63 - 1
_NO_DIGEST = "0" * 64
_DIGEST = re.compile("[0-9a-f]{64}")


def write(
    path: str | os.PathLike[str], tensors: dict[str, NDArray[Any]], metadata: dict[str, Any]
) -> None:
    """Write arrays and metadata to a file, all or nothing.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file. One that exists is replaced; its folder has to exist. The file is
        assembled in memory first, which takes as much again as the tensors do.
    tensors : dict of str to ndarray
        Boolean, integer, float16, float32 or float64 arrays of any shape and memory layout.
    metadata : dict
        What JSON can hold; NumPy scalars become Python's, tuples become lists.

    Raises
    ------
    InputError, InputTypeError
        A tensor or a piece of the metadata cannot be stored.
    OSError
        The file cannot be written. What was there before is still there.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from icfl import model_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model_file.write(f"{folder}/m.safetensors", {"mean": np.arange(3.0)}, {"eps": 1e-6})
    ...     tensors, metadata = model_file.read(f"{folder}/m.safetensors")
    >>> tensors["mean"], metadata
    (array([0., 1., 2.]), {'eps': 1e-06})
    """
    envelope = {
        "format_version": FORMAT_VERSION,
        "sha256": _NO_DIGEST,
        "metadata": metadata,
    }
    arrays = {name: _storable(name, tensor) for name, tensor in tensors.items()}
    data = memoryview(_serialize(arrays, metadata={FORMAT: _dumps(envelope)}))
    header_end = 8 + int.from_bytes(data[:8], "little")
    if header_end - 8 > _MAX_HEADER_BYTES:
        raise InputError(
            f"metadata: at most {_MAX_HEADER_BYTES} bytes as JSON, got {header_end - 8}; "
            "keep long lists of numbers as tensors"
        )
    # The first run of 64 zeros is the digest's place: safetensors writes the metadata before the
    # tensors' names, and `envelope` has the digest before whatever the caller says.
    at = bytes(data[:header_end]).index(_NO_DIGEST.encode())
    digest = hashlib.sha256(data).hexdigest().encode()
    replace_file(path, (data[:at], digest, data[at + len(digest) :]))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write` wrote, or refuse.

    Parameters
    ----------
    path : str or os.PathLike
        Name of the file.

    Returns
    -------
    tensors : dict of str to ndarray
        The arrays, C-contiguous, aligned and writable.
    metadata : dict
        The metadata.

    Raises
    ------
    ModelFileError
        The file is damaged, is no icfl file, or has a format version that is not known here.
    OSError
        The file cannot be opened or read.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from icfl import model_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model_file.write(f"{folder}/m.safetensors", {"mean": np.arange(3.0)}, {})
    ...     model_file.read(f"{folder}/m.safetensors")
    ({'mean': array([0., 1., 2.])}, {})
    """
    with open(os.fspath(path), "rb") as file:
        try:
            return _read(file)
        except ModelFileError as error:
            raise ModelFileError(f"{os.fspath(path)}: {error}") from error.__cause__


def _read(file: BinaryIO) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    size = os.fstat(file.fileno()).st_size
    raw_header = _read_header(file, size)
    header = _loads(raw_header, "header")
    envelope = _check_envelope(header.pop("__metadata__", None))
    _check_layout(header, size - 8 - len(raw_header))
    file.seek(0)
    data = file.read()
    _check_digest(memoryview(data), raw_header, envelope["sha256"])
    try:
        return _deserialize(data), envelope["metadata"]
    except (SafetensorError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ModelFileError(f"damaged: {error}") from error


def _read_header(file: BinaryIO, size: int) -> bytes:
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
        raise ModelFileError(
            f"not a model file, or cut short: no safetensors header fits into its {size} bytes"
        )
    header = file.read(length)
    if len(header) != length:
        raise ModelFileError("cut short while it was being read")
    return header


def _check_envelope(outer: object) -> dict[str, Any]:
    if not (isinstance(outer, dict) and isinstance(outer.get(FORMAT), str)):
        raise ModelFileError("a safetensors file, but not one that icfl wrote")
    envelope = _loads(outer[FORMAT].encode(errors="surrogatepass"), "metadata")
    version = envelope.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ModelFileError(
            f"has format version {reprlib.repr(version)}; "
            f"this version of icfl reads version {FORMAT_VERSION}"
        )
    digest = envelope.get("sha256")
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ModelFileError("damaged: no checksum")
    if not isinstance(envelope.get("metadata"), dict):
        raise ModelFileError("damaged: no metadata")
    return envelope


def _check_layout(entries: dict[str, Any], size: int) -> None:
    """Refuse tensors that do not fill the `size` bytes of data exactly once."""
    position = 0
    for begin, end in sorted(_byte_range(name, entry) for name, entry in entries.items()):
        if begin != position:
            raise ModelFileError(f"damaged: tensors overlap or leave a gap at byte {position}")
        position = end
    if position != size:
        raise ModelFileError(f"damaged: the tensors take {position} bytes, the file has {size}")


def _byte_range(name: str, entry: object) -> tuple[int, int]:
    if not (isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}):
        raise ModelFileError(
            f"damaged: tensor {reprlib.repr(name)} lacks its dtype, shape or offsets"
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(dtype, str) and dtype in _DTYPES):
        raise ModelFileError(
            f"damaged: tensor {reprlib.repr(name)} has dtype {reprlib.repr(dtype)}"
        )
    if not (_are_naturals(shape) and len(shape) <= _MAX_NDIM):
        raise ModelFileError(
            f"damaged: tensor {reprlib.repr(name)} has shape {reprlib.repr(shape)}"
        )
    if not (_are_naturals(offsets) and len(offsets) == 2):
        raise ModelFileError(
            f"damaged: tensor {reprlib.repr(name)} has offsets {reprlib.repr(offsets)}"
        )
    itemsize = _DTYPES[dtype][1]
    # NumPy refuses a shape whose other axes overflow even where one axis is empty.
    if itemsize * math.prod(max(length, 1) for length in shape) > _MAX_ARRAY_BYTES:
        raise ModelFileError(
            f"damaged: tensor {reprlib.repr(name)} has shape {reprlib.repr(shape)}"
        )
    begin, end = offsets
    if end - begin != itemsize * math.prod(shape):
        raise ModelFileError(
            f"damaged: tensor {reprlib.repr(name)}, {dtype} of shape {reprlib.repr(shape)}, "
            f"has {reprlib.repr(end - begin)} bytes"
        )
    return begin, end


def _are_naturals(values: object) -> bool:
    # `type(…) is int`: JSON's true is a Python bool, which is an int.
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _check_digest(data: memoryview, raw_header: bytes, digest: str) -> None:
    at = 8 + raw_header.find(digest.encode())
    actual = hashlib.sha256(data[:at])
    actual.update(_NO_DIGEST.encode())
    actual.update(data[at + len(digest) :])
    if actual.hexdigest() != digest:
        raise ModelFileError("damaged: its checksum does not match its contents")


def _loads(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"not a model file, or damaged: {what}: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"not a model file, or damaged: {what} is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _storable(name: object, tensor: object) -> NDArray[Any]:
    """Return `tensor` as safetensors needs it: it writes the buffer whatever the strides say."""
    if not isinstance(name, str) or name == "__metadata__" or not _is_utf8(name):
        raise InputError(f"tensors: not a tensor's name: {name!r}")
    if not isinstance(tensor, np.ndarray) or tensor.dtype.name not in _WRITABLE:
        kind = tensor.dtype if isinstance(tensor, np.ndarray) else type(tensor).__name__
        raise InputTypeError(
            f"tensors[{name!r}]: expected an array of booleans, integers or floats, got {kind}"
        )
    if tensor.ndim > _MAX_NDIM:
        raise InputError(f"tensors[{name!r}]: at most {_MAX_NDIM} axes, got {tensor.ndim}")
    return np.asarray(tensor, dtype=tensor.dtype.newbyteorder("="), order="C")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _dumps(envelope: dict[str, Any]) -> str:
    if not isinstance(envelope["metadata"], dict):
        kind = type(envelope["metadata"]).__name__
        raise InputTypeError(f"metadata: expected a dict, got {kind}")
    try:
        _check_keys(envelope)
        return json.dumps(envelope, default=_plain, separators=(",", ":"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"metadata: cannot be written as JSON: {error}") from error


def _check_keys(value: object) -> None:
    """Refuse keys that JSON would silently turn into strings."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InputTypeError(f"metadata: expected keys of type str, got {key!r}")
            _check_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item)


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise InputTypeError(
        f"metadata: expected what JSON can hold, got {type(value).__name__}; arrays go to tensors"
    )
