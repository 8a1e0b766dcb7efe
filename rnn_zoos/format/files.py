"""The files of a zoo: atomic writes, SHA-256 hashes, and JSON.

A file is either complete or absent: everything is written under a temporary name and renamed. Nothing here knows what
a file contains; the names and contents of a zoo's files are in `manifest.py`, its tensors in `tensors.py`, its index in
`index.py`.
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

import numpy.typing as npt

from rnn_zoos.errors import IntegrityError, StorageError, ZooError

Array = npt.NDArray[Any]

TEMPORARY_SUFFIX = ".tmp"
"""Ending of files that are still being written; a killed process leaves them behind."""
TEMPORARY_NAME = re.compile(r"\.(.+)\.\d+" + re.escape(TEMPORARY_SUFFIX))
"""Names that `write_atomically` gives to such files; the group is the name of the file that they become."""
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
