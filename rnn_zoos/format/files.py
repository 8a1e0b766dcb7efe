"""Files that are either whole or absent: atomic writes, hashes, safetensors by memory map."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from rnn_zoos.errors import FormatError, IntegrityError, StorageError

Array = npt.NDArray[Any]

DTYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I32": np.int32, "I64": np.int64}
"""The safetensors dtypes that format 1 uses."""
TEMPORARY = ".tmp"
_MAX_HEADER = 16 << 20  # bytes; ours have a few kB, and a header is parsed before anything else is checked


@dataclass(frozen=True)
class FileEntry:
    """What the manifest promises about a file."""

    sha256: str
    bytes: int
    rows: int


def write_atomically(path: Path, data: bytes | memoryview) -> str:
    """Write a file under a temporary name, sync it, rename it; return its sha256.

    Raises StorageError if the file system refuses; then nothing of `path` has changed and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path} ({len(data):,} bytes) could not be written: {error.strerror or error}. "
            "What was finished before is kept; make room or mend the permission, then run the same command again."
        ) from error
    finally:
        with suppress(NotADirectoryError):  # a file stands where the folder should be: there is nothing to remove
            temporary.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Give a temporary directory beside `path` to write into; it gets the name `path` when all went well.

    Raises StorageError if `path` is there and not empty, or the file system refuses; then nothing is left behind.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise StorageError(f"{path} is there already; nothing was changed. Give --out a new directory.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}. Nothing was kept; make room or mend the "
            "permission, then run the same command again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write readable JSON atomically."""
    write_atomically(path, json_bytes(data))


def json_bytes(data: Mapping[str, Any]) -> bytes:
    """Return readable JSON: the one text that `write_json` has for these data."""
    return (json.dumps(data, indent=2) + "\n").encode()


def write_sealed_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON atomically, with its own hash on the first line. Inverse of `read_sealed_json`."""
    text = json.dumps(data)
    write_atomically(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n".encode())


def read_sealed_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read JSON written by `write_sealed_json`. Raises IntegrityError, with the remedy, if a byte has changed."""
    seal, _, text = path.read_bytes().partition(b"\n")
    if hashlib.sha256(text[:-1]).hexdigest().encode() != seal or text[-1:] != b"\n":
        raise IntegrityError(f"{path} is damaged: its content does not have the hash on its first line. {remedy}")
    data: dict[str, Any] = json.loads(text)
    return data


def write_tensors(path: Path, tensors: Mapping[str, Array], about: Mapping[str, Any]) -> FileEntry:
    """Write `tensor_bytes` atomically."""
    data, entry = tensor_bytes(tensors, about)
    write_atomically(path, data)
    return entry


def tensor_bytes(tensors: Mapping[str, Array], about: Mapping[str, Any]) -> tuple[bytes, FileEntry]:
    """Return a safetensors file of tensors that share their first axis (rows), and the promise for it.

    `about` goes into the header as one JSON text: safetensors does not keep the order of several entries, and equal
    content has to give equal bytes.
    """
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    data = safetensors.numpy.save(contiguous, metadata={"rnn_zoos": json.dumps(about)})
    return data, FileEntry(hashlib.sha256(data).hexdigest(), len(data), len(next(iter(contiguous.values()))))


def check_bytes(path: Path, entry: FileEntry, remedy: str) -> None:
    """Raise IntegrityError, with the remedy, unless the file has the promised size and hash."""
    if not path.is_file():
        raise IntegrityError(f"{path} is missing. {remedy}")
    if path.stat().st_size != entry.bytes:
        raise IntegrityError(f"{path} has {path.stat().st_size:,} bytes; expected {entry.bytes:,}. {remedy}")
    found = sha256_of(path)
    if found != entry.sha256:
        raise IntegrityError(f"{path} has sha256 {found}; expected {entry.sha256}. {remedy}")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the safetensors header of a file (name -> dtype, shape, data_offsets) and where its data start.

    Raises FormatError if the file is cut short, inconsistent, or its header is larger than 16 MB.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER:
                raise FormatError(f"{path} announces a header of {length:,} bytes; at most {_MAX_HEADER:,} are read.")
            with safetensors.safe_open(path, framework="np"):  # checks sizes, offsets, overlaps and coverage
                header: dict[str, Any] = json.loads(file.read(length))
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}.") from error
    except safetensors.SafetensorError as error:
        raise FormatError(f"{path} is not a whole safetensors file: {error}.") from error
    return header, 8 + length


def map_tensors(path: Path) -> dict[str, Array]:
    """Map a safetensors file: name -> read-only array on the file's pages; nothing is copied."""
    header, start = read_header(path)
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))  # plain: memmap's own indexing is several times slower
    arrays = {}
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] not in DTYPES:
            raise FormatError(f"{path}: {name} has dtype {tensor['dtype']}; format 1 knows {', '.join(DTYPES)}.")
        first, last = (start + offset for offset in tensor["data_offsets"])
        arrays[name] = data[first:last].view(DTYPES[tensor["dtype"]]).reshape(tensor["shape"])
    return arrays


def tensor_differences(
    tensors: Mapping[str, Array], expected: Mapping[str, tuple[str, tuple[int, ...]]], rows: int
) -> Iterator[str]:
    """Yield where tensors are not those expected: name -> (safetensors dtype, shape without rows)."""
    if tensors.keys() != expected.keys():
        yield f"has the tensors {sorted(tensors)}; expected {sorted(expected)}"
        return
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != DTYPES[dtype] or tensor.shape != (rows, *shape):
            yield f"has {name} as {tensor.dtype} {tensor.shape}; expected {dtype} {(rows, *shape)}"
