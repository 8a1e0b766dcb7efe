"""Safetensors files: written with their manifest entry, and read by memory map.

pyarrow and safetensors are imported where they are used, because importing them takes time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array, FileEntry, write_atomically

DTYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I32": np.int32, "I64": np.int64}
"""The safetensors dtypes that format 1 allows, and their numpy types."""
_MAX_HEADER_BYTES = 16 << 20  # real headers have a few kB; the header is parsed before anything else is checked


def write_tensors(path: Path, tensors: Mapping[str, Array], about: Mapping[str, Any]) -> FileEntry:
    """Write a safetensors file atomically and return its manifest entry. See `tensor_bytes`."""
    data, entry = tensor_bytes(tensors, about)
    write_atomically(path, data)
    return entry


def tensor_bytes(tensors: Mapping[str, Array], about: Mapping[str, Any]) -> tuple[bytes, FileEntry]:
    """Return the content of a safetensors file, and its manifest entry. Equal arguments give equal bytes.

    Args:
        tensors: Name -> tensor [rows, ...]; all have the same number of rows.
        about: Metadata for the header, stored as one JSON text under the key `rnn_zoos`. One text, because safetensors
            does not keep the order of several metadata entries.

    Returns:
        The bytes of the file, and its entry (SHA-256, size, rows).
    """
    import safetensors.numpy

    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    data = safetensors.numpy.save(contiguous, metadata={"rnn_zoos": json.dumps(about)})
    return data, FileEntry(hashlib.sha256(data).hexdigest(), len(data), len(next(iter(contiguous.values()))))


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Read the header of a safetensors file, without its tensors.

    Args:
        path: The file.

    Returns:
        The header (tensor name -> dtype, shape, data_offsets; metadata under `__metadata__`), and the position of the
        first byte after it, to which the offsets refer.

    Raises:
        FormatError: The file cannot be opened, is truncated or inconsistent, or its header is larger than 16 MB.
    """
    import safetensors

    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                raise FormatError(f"{path} declares a header of {length:,} bytes; the limit is {_MAX_HEADER_BYTES:,}.")
            with safetensors.safe_open(path, framework="np"):  # validates sizes, offsets, overlaps, gaps
                header: dict[str, Any] = json.loads(file.read(length))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    except safetensors.SafetensorError as error:
        raise FormatError(f"{path} is not a complete safetensors file: {error}.") from error
    return header, 8 + length


def map_tensors(path: Path) -> dict[str, Array]:
    """Map the tensors of a safetensors file into memory; nothing is copied.

    Args:
        path: The file. Its hash is not checked; see `check_bytes`.

    Returns:
        Tensor name -> read-only array backed by the file.

    Raises:
        FormatError: The file is not a complete safetensors file, or a tensor has a dtype that format 1 does not allow.
    """
    import pyarrow as pa

    header, start = read_header(path)
    with pa.memory_map(str(path)) as file:  # unlike `mmap`, it keeps no file descriptor once it is closed
        data = np.frombuffer(file.read_buffer(), np.uint8)
    arrays = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] not in DTYPES:
            raise FormatError(f"{path}: {name} has dtype {tensor['dtype']}; format 1 allows {', '.join(DTYPES)}.")
        begin, end = (start + offset for offset in tensor["data_offsets"])
        arrays[name] = data[begin:end].view(DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return arrays


def tensor_differences(
    tensors: Mapping[str, Array], expected: Mapping[str, tuple[str, tuple[int, ...]]], rows: int
) -> Iterator[str]:
    """Compare the names, dtypes and shapes of tensors with the expected ones.

    Args:
        tensors: Name -> array.
        expected: Name -> (safetensors dtype, shape without the row axis).
        rows: Expected length of the row axis.

    Yields:
        One phrase per difference, to follow the name of the file.
    """
    if tensors.keys() != expected.keys():
        yield f"contains the tensors {sorted(tensors)}; expected {sorted(expected)}"
        return
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != DTYPES[dtype] or tensor.shape != (rows, *shape):
            yield f"has {name} as {tensor.dtype} {tensor.shape}; expected {dtype} {(rows, *shape)}"
