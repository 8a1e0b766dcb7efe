"""Seals: files whose hashes were right, with their times of modification then, so that they need not be read again.

While a zoo is unfinished, the records of its shards hold the seals of their files. Those of a finished zoo are in one
file that belongs to this machine, in a folder that no reader of the format looks at and that is never published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnn_zoos.errors import IntegrityError
from rnn_zoos.format.files import FileEntry
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.format.hashing import check_files

SEALS = ".cache/rnn-zoos-seals.json"


class Seal(NamedTuple):
    """The SHA-256 that a file had, and its time of modification in nanoseconds when it had it."""

    sha256: str
    modified: int


class SealedFile(NamedTuple):
    """A file, what it must contain, and its time of modification when it did; None if that is not known."""

    path: Path
    entry: FileEntry
    modified: int | None


def modified_at(path: Path) -> int:
    """Return the time of modification of a file, in nanoseconds."""
    return path.stat().st_mtime_ns


def verify(files: Sequence[SealedFile], remedy: str, *, rehash: bool = False) -> list[int]:
    """Check the size and hash of files that exist, and return their times of modification.

    A file whose size and time of modification are as they were when its hash was right is not read, unless `rehash`.

    Raises:
        IntegrityError: The size or hash of a file is wrong: the first such file in order. `remedy` says what to do.
        StorageError: A file cannot be read.
    """
    stats = [file.path.stat() for file in files]  # before they are read: a change meanwhile breaks the seal
    unsealed = [
        (file.path, file.entry)
        for file, stat in zip(files, stats, strict=True)
        if rehash or stat.st_size != file.entry.bytes or stat.st_mtime_ns != file.modified
    ]
    check_files(unsealed, remedy)
    return [stat.st_mtime_ns for stat in stats]


def read_seals(root: Path) -> dict[str, Seal]:
    """Return path inside a zoo -> seal; nothing if there is no file of seals, or a damaged one."""
    path = root / SEALS
    if not path.is_file():
        return {}
    try:
        files = read_hashed_json(path, "Delete it.")
    except IntegrityError:  # every file is read again then
        return {}
    return {name: Seal(*seal) for name, seal in files.items()}


def write_seals(root: Path, seals: Mapping[str, Seal]) -> None:
    """Write the file of seals of a zoo. Raises StorageError."""
    write_hashed_json(root / SEALS, seals)
