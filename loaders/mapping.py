"""Memory-mapped files: each is verified once per process, and holds no file descriptor while it is mapped."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array, FileEntry
from rnn_zoos.format.tensors import map_tensors, tensor_differences

if TYPE_CHECKING:
    from rnn_zoos.loaders.source import Source

REMEDY = "Download or generate this zoo again, or restore the file; `rnn-zoos check` lists all damage."
_SETTLED = 2_000_000_000  # ns since a file was changed, after which another change gives it another time
_TRUSTED = 0.01  # seconds after which the size of a mapped file is looked up again
_MAX_FILES = 30_000  # Linux allows 65,530 mappings per process by default (vm.max_map_count)

Tensors: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name -> (safetensors dtype, shape without the row axis)."""


class RowTensors:
    """T tensors with a common axis of rows, in memory or in a mapped file.

    Attributes:
        tensors: name -> array [num_rows, ...], contiguous within each row.
        num_rows: length of the row axis.
        addresses: where each tensor begins in memory, uint64 [1, T].
        strides: bytes from one row of a tensor to the next, int64 [T].
    """

    def __init__(self, tensors: Mapping[str, Array], num_rows: int) -> None:
        self.tensors, self.num_rows = dict(tensors), num_rows
        arrays = self.tensors.values()
        self.addresses = np.array([[array.__array_interface__["data"][0] for array in arrays]], np.uint64)
        self.strides = np.array([array.strides[0] for array in arrays], np.int64)


class MappedFile(RowTensors):
    """The tensors of a memory-mapped safetensors file. It holds no file descriptor."""

    def __init__(self, path: Path, tensors: Mapping[str, Array], num_rows: int) -> None:
        super().__init__(tensors, num_rows)
        stat = os.stat(path)
        self.num_bytes = stat.st_size
        self.path, self._file = str(path), (stat.st_dev, stat.st_ino)
        self._trusted_until = 0.0

    def is_truncated(self, now: float) -> bool:
        """Return whether the file has lost bytes since it was mapped: touching them would kill the process (SIGBUS).

        `now` is a monotonic time in seconds. The file system is not asked more often than every 10 ms.
        """
        if now < self._trusted_until:
            return False
        self._trusted_until = now + _TRUSTED
        try:
            stat = os.stat(self.path)
        except OSError:
            return False  # a file that was removed or replaced keeps its content as long as it is mapped
        return stat.st_size < self.num_bytes and (stat.st_dev, stat.st_ino) == self._file


def find_truncated(files: Sequence[MappedFile]) -> MappedFile | None:
    """Return a file that has lost bytes since it was mapped; None if there is none."""
    now = time.monotonic()
    return next((mapped for mapped in files if mapped.is_truncated(now)), None)


class MappedFiles:
    """The files that this process has mapped. Beyond `max_files` or `max_bytes`, those mapped first are let go."""

    def __init__(self, max_files: int, max_bytes: int) -> None:
        self.max_files, self.max_bytes = max_files, max_bytes
        self._mapped: dict[tuple[object, ...], MappedFile] = {}
        self._num_bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._mapped)

    def __call__(self, source: Source, file: str, entry: FileEntry, expected: Tensors) -> MappedFile:
        """Map a safetensors file of a zoo; the arrays are in the order of `expected`.

        Raises FormatError unless it holds `expected`, and what `Source.path` raises.
        """
        key = (source, file, entry, tuple(expected.items()))
        mapped = self._mapped.get(key)
        if mapped is None:
            path = verified_path(source, file, entry)
            tensors = map_tensors(path)
            for difference in tensor_differences(tensors, expected, entry.rows):
                raise FormatError(f"{file} {difference}. {REMEDY}")
            mapped = MappedFile(path, {name: tensors[name] for name in expected}, entry.rows)
            self._keep(key, mapped)
        return mapped

    def cache_clear(self) -> None:
        """Let all files go. They stay mapped as long as their arrays are in use."""
        with self._lock:
            self._mapped.clear()
            self._num_bytes = 0

    def _keep(self, key: tuple[object, ...], mapped: MappedFile) -> None:
        with self._lock:
            replaced = self._mapped.pop(key, None)  # by another thread, meanwhile
            self._mapped[key] = mapped
            self._num_bytes += mapped.num_bytes - (replaced.num_bytes if replaced else 0)
            while len(self._mapped) > self.max_files or (self._num_bytes > self.max_bytes and len(self._mapped) > 1):
                self._num_bytes -= self._mapped.pop(next(iter(self._mapped))).num_bytes


def _address_space() -> int:
    """Return how many bytes this process may map: a quarter of its address space, or of its limit (ulimit -v)."""
    available = 1 << 46 if sys.maxsize > 1 << 32 else 1 << 31
    if sys.platform != "win32":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        available = available if limit == resource.RLIM_INFINITY else min(available, limit)
    return available // 4


map_file = MappedFiles(_MAX_FILES, _address_space())
_verified: dict[tuple[Source, str, FileEntry], tuple[Path, tuple[int, ...]]] = {}


def verified_path(source: Source, file: str, entry: FileEntry) -> Path:
    """Return what `source.path` returns. A file is verified again only if it has changed since this process did it.

    Files that were changed in the last seconds are not remembered: the next change might not change their times.
    """
    known = _verified.get((source, file, entry))
    if known is not None and _identity(known[0]) == known[1]:
        return known[0]
    path = source.path(file, entry)
    identity = _identity(path)
    if identity is not None and time.time_ns() - identity[3] > _SETTLED:
        _verified[source, file, entry] = path, identity
    return path


def _identity(path: Path) -> tuple[int, ...] | None:
    """Return numbers that differ after every change of a file; None if it does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
