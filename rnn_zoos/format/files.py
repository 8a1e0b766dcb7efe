"""The files of a zoo: atomic writes, SHA-256 hashes, JSON, and safetensors files read by memory map.

A file is either complete or absent: everything is written under a temporary name and renamed. Nothing here knows what
a file contains; the names and contents of a zoo's files are in `manifest.py`, its index in `index.py`.

pyarrow and safetensors are imported where they are used: atomic writes and hashes need neither.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rnn_zoos.errors import FormatError, IntegrityError, StorageError, ZooError

Array = npt.NDArray[Any]

DTYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I32": np.int32, "I64": np.int64}
"""The safetensors dtypes that format 1 allows, and their numpy types."""
TEMPORARY_SUFFIX = ".tmp"
"""Ending of files that are still being written; a killed process leaves them behind."""
TEMPORARY_NAME = re.compile(r"\.(.+)\.\d+" + re.escape(TEMPORARY_SUFFIX))
"""Names that `write_atomically` gives to such files; the group is the name of the file that they become."""
_MAX_HEADER_BYTES = 16 << 20  # real headers have a few kB; the header is parsed before anything else is checked
_DIRECTORIES_CAN_BE_OPENED = os.name == "posix"
_READ_BYTES = 1 << 20  # read at once


@dataclass(frozen=True)
class FileEntry:
    """The manifest's entry of one file: what the file must contain.

    Attributes:
        sha256: SHA-256 of the whole file, 64 lower-case hexadecimal digits.
        bytes: Size of the file.
        rows: Rows of the index, or length of the first axis of the tensors.
    """

    sha256: str
    bytes: int
    rows: int


def write_atomically(path: Path, data: bytes | memoryview) -> str:
    """Write a file under a temporary name, flush it to disk, and rename it to its final name.

    Args:
        path: The file; missing parent directories are created.
        data: Its whole content.

    Returns:
        SHA-256 of the content.

    Raises:
        StorageError: The file system refused to write. `path` is unchanged and no temporary file is left.
    """
    with new_file(path, len(data)) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


@contextmanager
def new_file(path: Path, size: int) -> Iterator[BinaryIO]:
    """Write a file completely or not at all: a context manager, which gives a file to write into.

    It has a temporary name, and its final one when the block has ended without an exception and its content is on disk.
    Missing parent directories are created.

    Raises:
        StorageError: The file system refused to write. `path` is unchanged and no temporary file is left. `size`, in
            bytes, is for this message.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}"  # also if `path` is "."
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_directory(path.parent)
    except OSError as error:
        if isinstance(error, ZooError):  # of what is read in the block, not of `path`
            raise
        raise StorageError(
            f"{path} ({size:,} bytes) could not be written: {error.strerror or error}. "
            "Finished files are kept. Free disk space or fix the permissions, then run the same command again."
        ) from error
    finally:
        with suppress(OSError):  # where it cannot be removed, it could not be made; and another error is on its way
            temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Create a directory completely or not at all: a context manager.

    Args:
        path: The new directory; an existing one must be empty.

    Yields:
        A temporary directory next to `path` to write into. It is renamed to `path` when the block ends without an
        exception, and removed otherwise.

    Raises:
        StorageError: `path` exists and is not an empty directory, or it is the current directory, or the file system
            refused to write.
    """
    temporary: Path | None = None
    try:
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise StorageError(f"{path} already exists; nothing was changed. Give --out a new directory.")
        target = replaceable_path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, target)
        _sync_directory(target.parent)
    except OSError as error:
        if isinstance(error, (ZooError, ConnectionError, TimeoutError)):  # of what is read in the block, not of `path`
            raise
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}. Nothing was kept. Free disk space or fix the "
            "permissions, then run the same command again."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def replaceable_path(path: Path) -> Path:
    """Return the absolute path, without links, of a directory that is to be replaced by another of its name.

    Raises StorageError for the current directory: processes in it, such as the user's shell, would stay in the old one,
    which has no name any more.
    """
    if path.is_dir() and os.path.samefile(path, os.curdir):
        raise StorageError(
            f"{path} is the current directory, which cannot be replaced; nothing was changed. Give --out another "
            "directory, or run the command from the one above."
        )
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise StorageError(f"{path} is in the current directory, which was removed. Change to another one.") from error


def _sync_directory(directory: Path) -> None:
    """Flush a directory to disk, so that a rename in it survives a power failure. Does nothing on Windows."""
    if not _DIRECTORIES_CAN_BE_OPENED:
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write `json_bytes(data)` atomically."""
    write_atomically(path, json_bytes(data))


def json_bytes(data: Mapping[str, Any]) -> bytes:
    """Return data as indented JSON, UTF-8, with a final newline.

    Equal data, with their keys in the same order, give equal bytes: a manifest is compared with this text when it is
    read.
    """
    return (json.dumps(data, indent=2) + "\n").encode()


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


def check_bytes(path: Path, entry: FileEntry, remedy: str) -> None:
    """Check that a file has the size and the hash of its manifest entry; the whole file is read.

    Args:
        path: The file.
        entry: Its entry in the manifest.
        remedy: What the user can do about it: the last sentence of the error message.

    Raises:
        IntegrityError: The file is missing, or its size or hash differs.
        StorageError: The file cannot be read.
    """
    if not path.is_file():
        raise IntegrityError(f"{path} is missing. {remedy}")
    if path.stat().st_size != entry.bytes:
        raise IntegrityError(f"{path} has {path.stat().st_size:,} bytes; expected {entry.bytes:,}. {remedy}")
    found = sha256_of(path)
    if found != entry.sha256:
        raise IntegrityError(f"{path} has sha256 {found}; expected {entry.sha256}. {remedy}")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file. Raises StorageError if it cannot be read."""
    digest = hashlib.sha256()
    for block in file_blocks(path):
        digest.update(block)
    return digest.hexdigest()


def file_blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, at most 1 MB at a time. Raises StorageError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            while block := file.read(_READ_BYTES):
                yield block
    except OSError as error:
        raise read_error(path, error) from error


def read_error(path: Path, error: OSError) -> StorageError:
    """Return the error to raise for a file that the operating system does not let this process read."""
    return StorageError(
        f"{path} cannot be read: {error.strerror or error}. Fix its permissions, or check the disk or the connection "
        "to it, then run the same command again."
    )


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
