"""The files of a zoo: where they are read from (`Source`), and reading them once their bytes are verified (`ZooFiles`).

`Directory` is a local source; the other implementation is `rnn_zoos.loaders.hub.HubRevision`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import FormatError
from rnn_zoos.format.files import Array, FileEntry, check_bytes, map_tensors, tensor_differences
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import MANIFEST, Manifest, index_path, read_manifest, shard_path

REMEDY = "Download or generate this zoo again, or restore the file; `rnn-zoos check` lists all damage."
_DOWNLOAD_THREADS = 8


class Source(Protocol):
    """Where the files of one zoo come from. Hashable; a pickle names the source and holds none of its content."""

    def __hash__(self) -> int: ...

    @property
    def remote(self) -> bool:
        """Whether files must be downloaded before they can be read."""

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError unless the source holds a zoo of format 1."""

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return the local path of a file whose bytes match its manifest entry. Raises IntegrityError."""


@dataclass(frozen=True)
class Directory:
    """A local directory as the source of a zoo."""

    remote: ClassVar[bool] = False
    folder: Path

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError unless the directory holds a zoo of format 1."""
        return read_manifest(self.folder)

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return the path of a file after comparing its bytes with its manifest entry. Raises IntegrityError."""
        check_bytes(self.folder / file, entry, REMEDY)
        return self.folder / file


@dataclass(frozen=True)
class MappedFile:
    """The tensors of a memory-mapped safetensors file, as arrays and as bytes.

    Copying between memoryviews of bytes takes half the time of copying between numpy arrays.
    """

    tensors: dict[str, Array]
    contents: dict[str, memoryview]


@lru_cache(maxsize=256)  # a mapped file holds a file descriptor
def map_file(source: Source, file: str, entry: FileEntry) -> MappedFile:
    """Map a safetensors file of a zoo. Its bytes are compared with the manifest once per process."""
    tensors = map_tensors(source.path(file, entry))
    return MappedFile(tensors, {name: bytes_of(tensor) for name, tensor in tensors.items()})


def bytes_of(array: Array) -> memoryview:
    """Return the bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


@dataclass(frozen=True)
class Shard:
    """A mapped shard: the number of its rows, and the bytes of its tensors in the manifest's order."""

    num_rows: int
    contents: list[memoryview]


class ZooFiles:
    """The files that a manifest lists, read from a source and verified.

    `expected` is, for shards and rollouts, name -> (safetensors dtype, shape without the row axis) of their tensors.
    """

    def __init__(self, source: Source, manifest: Manifest) -> None:
        self.source = source
        self.manifest = manifest
        self.expected = {kind: manifest.tensors(kind) for kind in ("shards", "rollouts")}
        self._verified: set[str] = set()  # files whose tensors have the expected names, dtypes and shapes

    def read_index(self, split: str, schema: pa.Schema, where: pc.Expression | None) -> pa.Table:
        """Read the index of one split. Raises FormatError if its columns are not those of `schema`."""
        file = index_path(split)
        table = read_index(self.source.path(file, self._entry(file)), where)
        if not table.schema.equals(schema):
            raise FormatError(f"{file} has the columns {table.schema.names}; expected {schema.names}. {REMEDY}")
        return table

    def map(self, file: str, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> MappedFile:
        """Map a safetensors file. Raises FormatError unless it holds name -> (dtype, shape without the row axis)."""
        entry = self._entry(file)
        mapped = map_file(self.source, file, entry)
        if file not in self._verified:
            for difference in tensor_differences(mapped.tensors, expected, entry.rows):
                raise FormatError(f"{file} {difference}. {REMEDY}")
            self._verified.add(file)
        return mapped

    def open_shard(self, kind: str, split: str, number: int) -> Shard:
        """Map one shard of a split; `kind` is shards (weights) or rollouts."""
        count = self.manifest.splits[split]["shards"]
        if not 0 <= number < count:
            raise FormatError(f"{index_path(split)} names shard {number}, but the split has {count} shards. {REMEDY}")
        file, expected = shard_path(kind, split, number, count), self.expected[kind]
        contents = self.map(file, expected).contents
        return Shard(self._entry(file).rows, [contents[name] for name in expected])

    def download(self, files: Iterable[str]) -> None:
        """Make files available locally, several at a time."""
        with ThreadPoolExecutor(_DOWNLOAD_THREADS) as pool:
            downloads = [pool.submit(self.source.path, file, self._entry(file)) for file in files]
            try:
                for download in downloads:
                    download.result()
            finally:
                pool.shutdown(cancel_futures=True)  # after a failure or Ctrl-C, do not start the remaining downloads

    def _entry(self, file: str) -> FileEntry:
        if file not in self.manifest.files:
            raise FormatError(f"{MANIFEST} does not list {file}. {REMEDY}")
        return self.manifest.files[file]
