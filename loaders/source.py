"""The files of a zoo: where they are read from (`Source`), and reading them once their bytes are verified (`ZooFiles`).

`Directory` is a local source; the other implementation is `rnn_zoos.loaders.hub.HubRevision`.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol
from weakref import WeakValueDictionary

import pyarrow as pa
import pyarrow.compute as pc

from rnn_zoos.errors import FormatError, IntegrityError
from rnn_zoos.format.files import FileEntry, check_bytes
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import MANIFEST, Manifest, index_path, read_manifest, shard_path
from rnn_zoos.loaders.mapping import REMEDY, MappedFile, Tensors, find_truncated, map_file, verified_path

KINDS = ("shards", "rollouts")
"""The kinds of tensor files: weights, and what the networks read and answered."""
_DOWNLOAD_THREADS = 8


class Source(Protocol):
    """Where the files of one zoo come from. Hashable; a pickle names the source and holds none of its content."""

    def __hash__(self) -> int: ...

    @property
    def remote(self) -> bool:
        """Whether files must be downloaded before they can be read."""

    @property
    def address(self) -> str:
        """An absolute path or hf://datasets/OWNER/NAME@COMMIT, from which the source can be made again."""

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError unless the source holds a zoo of a known format."""

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return the local path of a file whose bytes match its manifest entry. Raises IntegrityError."""


@dataclass(frozen=True)
class Directory:
    """A local directory as the source of a zoo."""

    remote: ClassVar[bool] = False
    folder: Path

    @property
    def address(self) -> str:
        """The absolute path of the directory."""
        return str(self.folder.absolute())

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError unless the directory holds a zoo of a known format."""
        return read_manifest(self.folder)

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return the path of a file after comparing its bytes with its manifest entry. Raises IntegrityError."""
        check_bytes(self.folder / file, entry, REMEDY)
        return self.folder / file


class ZooFiles:
    """The files that a manifest lists, read from a source and verified."""

    def __init__(self, source: Source, manifest: Manifest) -> None:
        self.source = source
        self.manifest = manifest
        self._opened: WeakValueDictionary[tuple[str, str, int], MappedFile] = WeakValueDictionary()

    def read_index(self, split: str, schema: pa.Schema, where: pc.Expression | None) -> pa.Table:
        """Read the index of one split. Raises FormatError if its columns are not those of `schema`."""
        file = index_path(split)
        entry = self._entry(file)
        table = read_index(verified_path(self.source, file, entry), where, entry.rows)
        if not table.schema.equals(schema):
            raise FormatError(f"{file} has the columns {table.schema.names}; expected {schema.names}. {REMEDY}")
        return table

    def map(self, file: str, expected: Tensors) -> MappedFile:
        """Map a safetensors file of `expected` tensors. Raises FormatError, IntegrityError, HubError."""
        return self._whole([map_file(self.source, file, self._entry(file), expected)])[0]

    def open_shards(self, kind: str, places: Iterable[tuple[str, int]]) -> list[MappedFile]:
        """Map shards, given their splits and numbers; `kind` is shards (weights) or rollouts.

        Their tensors are in the manifest's order. Raises the same as `map`.
        """
        return self._whole([self._opened.get((kind, *place)) or self._open_shard(kind, *place) for place in places])

    def shard_path(self, kind: str, split: str, number: int) -> str:
        """Return the path of a shard inside the zoo; `kind` is shards (weights) or rollouts.

        Raises FormatError if the zoo has no such shard.
        """
        if split not in self.manifest.splits:
            known = ", ".join(self.manifest.splits)
            raise FormatError(
                f"A row names the split {split!r}; expected one of {known}. Use rows of this zoo's index."
            )
        count = self.manifest.splits[split]["shards"]
        if not 0 <= number < count:
            raise FormatError(f"{index_path(split)} names shard {number}, but the split has {count} shards. {REMEDY}")
        return shard_path(kind, split, number, count)

    def _open_shard(self, kind: str, split: str, number: int) -> MappedFile:
        file = self.shard_path(kind, split, number)
        expected = self.manifest.tensors(kind, self.manifest.architecture_of(split, number))
        mapped = map_file(self.source, file, self._entry(file), expected)
        self._opened[kind, split, number] = mapped
        return mapped

    def _whole(self, files: list[MappedFile]) -> list[MappedFile]:
        """Return mapped files, all of which must still have their size."""
        truncated = find_truncated(files)
        if truncated is not None:
            map_file.cache_clear()  # a restored file is mapped anew
            self._opened.clear()
            raise IntegrityError(f"{truncated.path} has been truncated since it was opened. {REMEDY}")
        return files

    def locate(self, kind: str, file: str) -> tuple[str, int]:
        """Return split and number of the shard with this path; `kind` is shards (weights) or rollouts.

        Raises FormatError if the zoo has no such shard.
        """
        place = self._shards.get((kind, str(file)))
        if place is None:
            raise FormatError(f"The zoo has no file {file!r} in {kind}. {REMEDY}")
        return place

    @cached_property
    def _shards(self) -> dict[tuple[str, str], tuple[str, int]]:
        """(kind, path) -> split and number of every shard."""
        return {
            (kind, file): (split, number)
            for kind in KINDS
            for split in self.manifest.splits
            for number, file in enumerate(self.manifest.paths(kind, split))
        }

    def download(self, files: Iterable[str]) -> None:
        """Make files available locally, several at a time."""
        with ThreadPoolExecutor(_DOWNLOAD_THREADS) as pool:
            downloads = [pool.submit(verified_path, self.source, file, self._entry(file)) for file in files]
            try:
                for download in downloads:
                    download.result()
            finally:
                pool.shutdown(cancel_futures=True)  # after a failure or Ctrl-C, do not start the remaining downloads

    def _entry(self, file: str) -> FileEntry:
        if file not in self.manifest.files:
            raise FormatError(f"{MANIFEST} does not list {file}. {REMEDY}")
        return self.manifest.files[file]
