"""Files of other libraries, read without trust: strict JSON, tensors that are nothing but data.

What is wrong with a file is one ModelFileError that names the file, the key and what was found.
`.pt` files go through ``torch.load(weights_only=True)``, which refuses whatever is no tensor,
number or string; safetensors need no torch, bfloat16 included.
"""

from __future__ import annotations

import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from icfl.exceptions import MissingDependencyError, ModelFileError

__all__ = ["find", "find_torch", "mentions", "parse_json", "read_safetensors", "read_torch"]

_DTYPES = {
    "BOOL": np.bool_,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
}
_PEEK = 1 << 20
"""Bytes of a torch file that are searched for the names of its tensors."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how torch files begin, and began before 2020


def find(path: Path, name: str) -> Path | None:
    """Return the file `name`: in the folder `path`, or `path` itself."""
    file = path / name if path.is_dir() else path
    return file if file.name == name and file.is_file() else None


def find_torch(path: Path, name: str | None = None) -> Path | None:
    """Return the torch file `name` of a folder, else its only one; or `path` itself."""
    if path.is_file():
        return path
    named = path / name if name else None
    if named is not None and named.is_file():
        return named
    files = sorted(path.glob("*.pt")) if path.is_dir() else []
    return files[0] if len(files) == 1 else None


def mentions(path: Path, key: str) -> bool:
    """Whether a torch file seems to have a tensor of that name; nothing is unpickled to see it."""
    with open(path, "rb") as file:
        head = file.read(_PEEK)
        if head[:1] == _PICKLE:
            return key.encode() in head
        if head[:4] != _ZIP:
            return False
        try:
            with zipfile.ZipFile(file) as archive:
                names = [n for n in archive.namelist() if n.endswith("data.pkl")]
                return any(key.encode() in archive.open(name).read(_PEEK) for name in names)
        except (*_DAMAGED, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
            return False


def parse_json(text: bytes, source: str) -> dict[str, Any]:
    """Return a JSON object without duplicate keys, NaN or infinity."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{source}: not strict JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{source}: expected a JSON object, got {type(value).__name__}")
    return value


def read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file; bfloat16 becomes float32."""
    data = path.read_bytes()
    try:
        entries: list[tuple[str, Any]] = deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path}: not a readable safetensors file: {error}") from error
    return {name: _array(f"{path}: {name}", entry) for name, entry in entries}


def read_torch(data: bytes, source: str) -> dict[str, Any]:
    """Return what a torch file holds by name: tensors as arrays, the rest as it is."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f'{source}: reading torch files needs PyTorch: pip install "icfl[torch]"'
        ) from error
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parsers do, of many classes
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelFileError(
            f"{source}: not a torch file of plain tensors; nothing in it was executed ({reason[0]})"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise ModelFileError(f"{source}: expected tensors by name, got {type(state).__name__}")
    return {name: _from_torch(f"{source}: {name}", value) for name, value in state.items()}


def _array(name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    if entry["dtype"] == "BF16":
        # The upper half of a float32 is a bfloat16.
        bits = np.frombuffer(entry["data"], dtype="<u2").astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32).reshape(entry["shape"])
    if entry["dtype"] not in _DTYPES:
        raise ModelFileError(f"{name} has dtype {entry['dtype']}, expected floats or integers")
    dtype = np.dtype(_DTYPES[entry["dtype"]]).newbyteorder("<")
    return np.frombuffer(entry["data"], dtype=dtype).reshape(entry["shape"])


def _from_torch(name: str, value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    dense = value.detach()
    plain = dense.layout == torch.strided and dense.device.type == "cpu"
    if not plain or dense.is_complex() or dense.is_quantized or dense.is_neg():
        raise ModelFileError(
            f"{name}: expected a dense real tensor, got {dense.type()} on {str(dense.device)!r}"
        )
    # Strides of zero make a few stored numbers a tensor of any size.
    stored = dense.untyped_storage().nbytes() // dense.element_size()
    if dense.numel() > stored:
        raise ModelFileError(
            f"{name}: shape {tuple(dense.shape)} has {dense.numel()} numbers, the file {stored}"
        )
    return cast("NDArray[Any]", (dense.float() if dense.is_floating_point() else dense).numpy())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
