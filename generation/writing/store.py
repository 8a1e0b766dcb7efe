"""A place for shards that is no local folder: any URL that fsspec knows (s3://, gs://, ssh://, memory://, file://)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rnn_zoos.errors import StorageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True)
class Store:
    """The folder at a URL. Workers write into it from wherever they are; all methods raise StorageError."""

    url: str

    def check_access(self) -> None:
        """Write and remove a small file, so that a missing permission is found before anything is trained."""
        path = f".access-{uuid.uuid4().hex}.tmp"
        self.write(path, b"rnn-zoos")
        with self._opened(path) as (files, place):
            files.rm_file(place)

    def write(self, path: str, data: bytes) -> None:
        """Write a file of the folder; an object store shows it whole or not at all, other systems get a rename."""
        with self._opened(path) as (files, place):
            files.makedirs(files._parent(place), exist_ok=True)
            if "file" in _protocols(files):
                files.pipe_file(f"{place}.tmp", data)
                files.mv(f"{place}.tmp", place)
            else:
                files.pipe_file(place, data)
            if files.size(place) != len(data):
                raise OSError(f"{files.size(place)} bytes arrived of {len(data)}")

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return some bytes of a file, or all."""
        with self._opened(path) as (files, place):
            return bytes(files.cat_file(place, start, end))

    def size(self, path: str) -> int | None:
        """Return the bytes of a file, None if it is not there."""
        with self._opened(path) as (files, place):
            files.invalidate_cache()
            return int(files.size(place)) if files.exists(place) else None

    @contextmanager
    def _opened(self, path: str) -> Iterator[tuple[AbstractFileSystem, str]]:
        try:
            files, folder = self._system()
            yield files, f"{folder}/{path}"
        except (OSError, ImportError, ValueError) as error:
            raise StorageError(
                f"{self.url}/{path} could not be reached or written: {error}. Give --store a URL that fsspec knows and "
                "that every worker may write to (credentials, permission, the package of its protocol)."
            ) from error

    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        files, folder = url_to_fs(self.url)
        return files, folder.rstrip("/")


def _protocols(files: AbstractFileSystem) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
