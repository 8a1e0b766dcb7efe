"""Comparing many files with their hashes, in threads, and copying files while they are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from rnn_zoos.errors import IntegrityError, StorageError
from rnn_zoos.format.files import FileEntry, check_bytes, file_blocks, new_file
from rnn_zoos.threads import map_in_threads

CheckedFile = tuple[Path, FileEntry]
"""A file, and what it must contain."""

_TITLE = "comparing hashes"


def check_files(files: Sequence[CheckedFile], remedy: str) -> None:
    """Check that files have the sizes and hashes of their manifest entries, as `check_bytes` does for one file.

    Raises:
        IntegrityError: A file is missing, or its size or hash differs: the first such file in order.
        StorageError: A file cannot be read.
    """
    map_in_threads(lambda file: check_bytes(*file, remedy), files, _TITLE, _size)


def damages(files: Sequence[CheckedFile], remedy: str) -> list[str | None]:
    """Return what is wrong with each file: the message of the error of `check_bytes`, None if it is as it should be."""

    def damage(file: CheckedFile) -> str | None:
        try:
            check_bytes(*file, remedy)
        except (IntegrityError, StorageError) as error:
            return str(error)
        return None

    return map_in_threads(damage, files, _TITLE, _size)


def copy_checked(source: Path, entry: FileEntry, target: Path, remedy: str) -> None:
    """Copy a file, which is read once, and check that it has the size and the hash of its manifest entry.

    Raises:
        IntegrityError: The source is missing, or its size or hash differs; there is no target then.
        StorageError: The source cannot be read, or the target not be written.
    """
    if not source.is_file() or source.stat().st_size != entry.bytes:
        check_bytes(source, entry, remedy)
    digest = hashlib.sha256()
    with new_file(target, entry.bytes) as file:
        for block in file_blocks(source):
            digest.update(block)
            file.write(block)
        if digest.hexdigest() != entry.sha256:
            raise IntegrityError(f"{source} has sha256 {digest.hexdigest()}; expected {entry.sha256}. {remedy}")


def _size(file: CheckedFile) -> int:
    return file[1].bytes
