"""Stores: remote folders for the files of shards, at any URL that fsspec supports (s3, gs, ssh, memory, file)."""

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
    """The folder at a URL, into which workers write directly.

    All methods raise StorageError if it cannot be reached or written.
    """

    url: str

    def check_access(self) -> None:
        """Write and remove a small file, so that missing permissions are noticed before training starts."""
        path = f".access-{uuid.uuid4().hex}.tmp"
        self.write(path, b"rnn-zoos")
        with self._located(path) as (files, location):
            files.rm_file(location)

    def write(self, path: str, data: bytes) -> None:
        """Write a file: object stores show it whole or not at all; on a file system it is renamed when complete."""
        with self._located(path) as (files, location):
            files.makedirs(files._parent(location), exist_ok=True)
            if "file" in _protocols(files):
                files.pipe_file(f"{location}.tmp", data)
                files.mv(f"{location}.tmp", location)
            else:
                files.pipe_file(location, data)
            if files.size(location) != len(data):
                raise OSError(f"{files.size(location)} of {len(data)} bytes arrived")

    def read(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return the bytes of a file from `start` to `end`, by default all."""
        with self._located(path) as (files, location):
            return bytes(files.cat_file(location, start, end))

    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes, None if it does not exist."""
        with self._located(path) as (files, location):
            files.invalidate_cache()
            return int(files.size(location)) if files.exists(location) else None

    @contextmanager
    def _located(self, path: str) -> Iterator[tuple[AbstractFileSystem, str]]:
        """Give the file system and the location of a path in it; turn its errors into StorageError."""
        try:
            files, folder = self._system()
            yield files, f"{folder}/{path}"
        except (OSError, ImportError, ValueError) as error:
            raise StorageError(
                f"{self.url}/{path} could not be reached or written: {error}. Give --store a URL that fsspec supports "
                "and that every worker may write to (check credentials, permissions and the protocol's package)."
            ) from error

    def _system(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        files, folder = url_to_fs(self.url)
        return files, folder.rstrip("/")


def _protocols(files: AbstractFileSystem) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
