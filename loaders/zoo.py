"""A zoo in a directory or on the Hub: its manifest, its index, and its tensors by memory map."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import prod
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.families.family import SPLITS, Column
from rnn_zoos.format.files import DTYPES, Array, FileEntry, check_bytes, map_tensors, tensor_differences
from rnn_zoos.format.index import index_schema, read_index
from rnn_zoos.format.manifest import DIGITS, MANIFEST, Manifest, index_path, read_manifest, shard_path
from rnn_zoos.loaders.hub import HUB_NAME, find_revision
from rnn_zoos.loaders.where import EXPECTED_WHERE, Where, triples_to_expression
from rnn_zoos.networks.stack import NetworkStack

PLACE = ["split", "shard", "row"]
"""The columns of an index that say where a row's tensors are."""
_FETCHES = 8  # files fetched at the same time
_ALIGNED = 64  # bytes: where a tensor begins in a block
_REMEDY = "Fetch or generate this zoo again, or put the right file in its place; `rnn-zoos check` lists all damage."


class Source(Protocol):
    """Where the files of one zoo come from. Hashable, and picklable without their content."""

    def __hash__(self) -> int: ...

    @property
    def remote(self) -> bool:
        """Whether files have to be fetched before they can be read."""

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError if there is none of format 1."""

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return where a file is, with the bytes that its entry promises. Raises IntegrityError."""


@dataclass(frozen=True)
class Directory:
    """A directory as the source of a zoo."""

    remote: ClassVar[bool] = False
    folder: Path

    def manifest(self) -> Manifest:
        """Return the manifest. Raises FormatError if there is none of format 1."""
        return read_manifest(self.folder)

    def path(self, file: str, entry: FileEntry) -> Path:
        """Return where a file is, after its bytes were compared with its entry. Raises IntegrityError."""
        check_bytes(self.folder / file, entry, _REMEDY)
        return self.folder / file


@dataclass(frozen=True)
class Mapped:
    """The tensors of a mapped file, and their bytes: copies between such views cost half of those between arrays."""

    tensors: dict[str, Array]
    contents: dict[str, memoryview]


@lru_cache(maxsize=256)  # a mapped file holds a file descriptor
def open_mapped(source: Source, file: str, entry: FileEntry) -> Mapped:
    """Map a file of a zoo, after its bytes were compared with the manifest: once in a process."""
    tensors = map_tensors(source.path(file, entry))
    return Mapped(tensors, {name: _bytes_of(tensor) for name, tensor in tensors.items()})


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def open_zoo(name_or_dir: str | Path, revision: str | None = None, token: str | None = None) -> Zoo:
    """Open the zoo in a directory, or the one that the Hub has under the name OWNER/NAME.

    `revision` (branch, tag or sha; None: main) and `token` (None: of `hf auth login` or HF_TOKEN) are for the Hub. Only
    zoo.json is fetched. Raises FormatError if it is no zoo, HubError if the Hub does not give it.
    """
    if not isinstance(name_or_dir, (str, Path)):
        raise FormatError(f"The zoo is {name_or_dir!r}; expected a directory, or OWNER/NAME of a zoo on the Hub.")
    if Path(name_or_dir).is_dir():
        if revision is not None:
            raise FormatError(
                f"revision is {revision!r}, but {name_or_dir} is a directory, which has one version only."
            )
        return Zoo(Directory(Path(name_or_dir).resolve()))
    if isinstance(name_or_dir, str) and HUB_NAME.fullmatch(name_or_dir):
        return Zoo(find_revision(name_or_dir, revision, token))
    raise FormatError(
        f"{name_or_dir} is not a directory, nor the name of a zoo on the Hub. Expected the output of "
        "`rnn-zoos generate`, or OWNER/NAME."
    )


class Zoo:
    """A finished zoo: what its source has, read on demand. Raises FormatError if there is none."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.manifest = source.manifest()
        self._expected = {kind: self.manifest.tensors(kind) for kind in ("shards", "rollouts")}
        self._compared: set[str] = set()  # files whose tensors are those that the manifest promises

    @cached_property
    def identity(self) -> str:
        """A hash of every byte of the zoo but how it was made: equal zoos have equal ones."""
        return hashlib.sha256(repr(replace(self.manifest, made={})).encode()).hexdigest()

    def splits(self, split: str | None = None) -> list[str]:
        """Return the splits that hold rows, or the one named. Raises UnknownNameError."""
        present = [name for name in SPLITS if self.manifest.splits[name]["rows"]]
        if split is None:
            return present
        if str(split) not in present:
            raise UnknownNameError.among("split", split, present)
        return [str(split)]

    def index(
        self,
        split: str | None = None,
        steps: int | Iterable[int] | None = None,
        where: Where | None = None,
    ) -> pa.Table:
        """Return the index rows of a split (of all, in order of SPLITS), of some steps, of which `where` is true."""
        schema = index_schema({name: Column(**column) for name, column in self.manifest.columns.items()})
        wanted = None if steps is None else pc.field("step").isin(self._steps(steps))
        if where is not None:
            asked = where if isinstance(where, pc.Expression) else triples_to_expression(where, schema)
            try:
                schema.empty_table().filter(asked)
            except (pa.ArrowException, TypeError) as error:
                raise FormatError(
                    f"where is {where}, which cannot be asked of this index: {error}. {EXPECTED_WHERE}"
                ) from error
            wanted = asked if wanted is None else wanted & asked
        tables = [self._read(name, schema, wanted) for name in self.splits(split)]
        return pa.concat_tables([schema.empty_table(), *tables])

    def _read(self, split: str, schema: pa.Schema, where: pc.Expression | None) -> pa.Table:
        """Read the index of a split. Raises FormatError if its columns are not those of the manifest."""
        file = index_path(split)
        table = read_index(self.source.path(file, self._entry(file)), where)
        if not table.schema.equals(schema):
            raise FormatError(f"{file} has the columns {table.schema.names}; expected {schema.names}. {_REMEDY}")
        return table

    def _entry(self, file: str) -> FileEntry:
        if file not in self.manifest.files:
            raise FormatError(f"{MANIFEST} does not list {file}, which it should. {_REMEDY}")
        return self.manifest.files[file]

    def _steps(self, steps: int | Iterable[int]) -> list[int]:
        """Return steps as whole numbers, all of which this zoo has."""
        try:
            wanted = [operator.index(step) for step in (steps if isinstance(steps, Iterable) else [steps])]
        except TypeError as error:
            raise FormatError(f"steps is {steps!r}; expected a whole number or several.") from error
        for step in wanted:
            if step not in self.manifest.snapshots:
                raise UnknownNameError.among("step", step, self.manifest.snapshots)
        return wanted

    def row(self, run: int, step: int) -> dict[str, Any]:
        """Return the index row of one snapshot. Raises UnknownNameError, saying which runs and steps there are."""
        if not isinstance(run, Integral) or not 0 <= int(run) < self.manifest.runs:
            raise UnknownNameError(f"Unknown run {run}; this zoo has the runs 0 to {self.manifest.runs - 1}.")
        rows = self.index(where=[("run", "==", run)]).to_pylist()
        for row in rows:
            if row["step"] == step:
                return dict(row)
        known = [row["step"] for row in rows]
        if step in self.manifest.snapshots:
            raise UnknownNameError(f"Run {run} diverged before step {step}; it has the steps {known or 'none'}.")
        raise UnknownNameError.among(f"step of run {run}", step, known)

    def file(self, file: str, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> Mapped:
        """Map a safetensors file of the zoo, whose tensors have to be: name -> (dtype, shape without rows)."""
        entry = self._entry(file)
        mapped = open_mapped(self.source, file, entry)
        if file not in self._compared:
            for difference in tensor_differences(mapped.tensors, expected, entry.rows):
                raise FormatError(f"{file} {difference}. {_REMEDY}")
            self._compared.add(file)
        return mapped

    def _shard(self, kind: str, split: str, shard: int) -> tuple[int, list[memoryview]]:
        """Return the number of rows of a shard and the bytes of its tensors; `kind` is shards or rollouts."""
        count = self.manifest.splits[split]["shards"]
        if not 0 <= shard < count:
            raise FormatError(f"{index_path(split)} names the shard {shard} of {count}. {_REMEDY}")
        file, expected = shard_path(kind, split, shard, count), self._expected[kind]
        contents = self.file(file, expected).contents
        return self._entry(file).rows, [contents[name] for name in expected]

    def take(self, kind: str, places: Mapping[str, Sequence[Any]]) -> dict[str, Array]:
        """Copy rows out of the shards: name -> [rows, ...]. `places` has the index's columns split, shard and row."""
        rows, expected = np.asarray(places["row"], np.int64), self._expected[kind]
        taken = _one_block(len(rows), expected)
        into = [_bytes_of(array) for array in taken.values()]
        sizes = [array.itemsize * prod(array.shape[1:]) for array in taken.values()]
        opened: dict[tuple[str, int], tuple[int, list[memoryview]]] = {}
        for first, end in _consecutive(places["split"], places["shard"], rows):
            place = places["split"][first], places["shard"][first]
            if place not in opened:
                opened[place] = self._shard(kind, *place)
            count, stored = opened[place]
            row, after = int(rows[first]), int(rows[first]) + end - first
            if row < 0 or after > count:
                raise FormatError(f"{index_path(place[0])} names rows of shard {place[1]} that it has not. {_REMEDY}")
            for to, tensor, size in zip(into, stored, sizes, strict=True):
                to[first * size : end * size] = tensor[row * size : after * size]
        return taken

    def stack(self, rows: pa.Table | Sequence[Mapping[str, Any]], device: str = "cpu") -> NetworkStack:
        """Return the networks of M index rows (of `index`, or of its `to_pylist`) as one stack, callable at once.

        stack = zoo.stack(zoo.index("test", steps=2000))
        outputs, state = stack(inputs)  # [B, T, I] -> [M, B, T, O]
        """
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([dict(row) for row in rows])
        if not {*PLACE} <= {*table.column_names}:
            raise FormatError(f"The rows have the columns {table.column_names}; expected rows of `Zoo.index`.")
        taken = self.take("shards", table.select(PLACE).to_pydict())
        return NetworkStack(
            self.manifest.architecture, {name: torch.from_numpy(array).to(device) for name, array in taken.items()}
        )

    def fetch(self, split: str, shards: Iterable[int], rollouts: bool) -> None:
        """Fetch what reading rows of these shards takes, so that it cannot fail later; nothing for a directory."""
        if not self.source.remote:
            return
        kinds = ("shards", "rollouts") if rollouts else ("shards",)
        files = [self.manifest.paths(kind, split)[shard] for kind in kinds for shard in shards]
        if files and rollouts and "images" in self.manifest.rollouts:
            files.append(DIGITS)
        with ThreadPoolExecutor(_FETCHES) as pool:
            fetching = [pool.submit(self.source.path, file, self._entry(file)) for file in files]
            try:
                for fetched in fetching:
                    fetched.result()
            finally:
                pool.shutdown(cancel_futures=True)  # after a failure, or Ctrl-C, what was not begun is left

    def weights(self, row: dict[str, Any]) -> dict[str, Tensor]:
        """Return a copy of the named weights of an index row, in the architecture's order."""
        taken = self.take("shards", {name: [row[name]] for name in PLACE})
        return {name: torch.from_numpy(tensor[0]) for name, tensor in taken.items()}


def _one_block(rows: int, tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Array]:
    """Return empty arrays [rows, ...] that share one block of memory.

    With a block each, the allocator gives some of them back to the system after every batch and asks for them again,
    which takes twice as long as filling them.
    """
    sizes = {name: rows * prod(shape) * np.dtype(DTYPES[dtype]).itemsize for name, (dtype, shape) in tensors.items()}
    starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes.values())]).tolist()
    block = np.empty(starts[-1], np.uint8)
    return {
        name: block[start : start + sizes[name]].view(DTYPES[dtype]).reshape(rows, *shape)
        for start, (name, (dtype, shape)) in zip(starts, tensors.items(), strict=False)
    }


def _consecutive(splits: Sequence[str], shards: Sequence[int], rows: Array) -> Iterator[tuple[int, int]]:
    """Yield ranges (first, end) of places whose rows follow each other in one shard: one copy moves them all."""
    if not len(rows):
        return
    same = (np.diff(rows) == 1) & (np.diff(np.asarray(shards)) == 0)
    first = 0
    for end, follows in enumerate(same.tolist(), start=1):
        if not (follows and splits[end] == splits[end - 1]):
            yield first, end
            first = end
    yield first, len(rows)
