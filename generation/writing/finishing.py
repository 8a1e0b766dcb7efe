"""Finishing: from complete shards to a zoo. Writes the index, the digits and, last of all, zoo.json."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
import torch

from rnn_zoos.families.columns import Column
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.rotation import PIXELS, SIDE
from rnn_zoos.format.files import Array, FileEntry
from rnn_zoos.format.index import index_schema, write_index
from rnn_zoos.format.manifest import DIGITS, FORMAT, MANIFEST, Manifest, index_path
from rnn_zoos.format.tensors import map_tensors, write_tensors
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.provenance import merge_provenance
from rnn_zoos.generation.writing.records import KINDS, ShardRecord, common_columns, read_record
from rnn_zoos.generation.writing.seals import Seal, modified_at, write_seals
from rnn_zoos.generation.writing.workspace import Workspace

_ROWS_PER_TABLE = 2000


def finish(workspace: Workspace) -> Manifest:
    """Turn a workspace whose shards are all finished into a zoo, and remove what only unfinished zoos have.

    Records are read one at a time, twice: the rows of a large zoo would not fit into memory.
    """
    files: dict[str, FileEntry] = {}
    splits, reader, columns = {}, _RecordReader(workspace), _columns(workspace)
    for split in SPLITS:
        shards = [shard for shard in workspace.plan.shards if shard.split == split]
        rows = 0
        if shards:
            entry = _write_rows(workspace, split, reader.records(shards), index_schema(columns))
            files |= {index_path(split): entry, **reader.files}
            rows = entry.rows
        splits[split] = {"runs": sum(len(shard.table) for shard in shards), "rows": rows, "shards": len(shards)}
    if digits := _digits_of_rollouts(workspace):
        files[DIGITS] = write_tensors(workspace.directory / DIGITS, digits, {"format": FORMAT})
    manifest = _manifest(workspace, columns, splits, files, reader.made())
    _remove_unlisted_shards(workspace, files)
    _write_seals(workspace, files, reader.seals)
    manifest.write(workspace.directory)
    _upload(workspace, files)
    shutil.rmtree(workspace.paths.unfinished)
    return manifest


@dataclass
class _RecordReader:
    """Reads the records of a workspace, and collects what the manifest needs of them.

    Attributes:
        files: the files of the shards of the last split that was read.
        seals: the seals of the files of all shards, path -> seal.
        seconds: how long all shards took.
        provenances: the different provenances of all shards.
    """

    workspace: Workspace
    files: dict[str, FileEntry] = field(default_factory=dict)
    seals: dict[str, Seal] = field(default_factory=dict)
    seconds: float = 0.0
    provenances: list[dict[str, Any]] = field(default_factory=list)

    def records(self, shards: list[ShardPlan]) -> Iterator[ShardRecord]:
        """Yield the records of the shards of a split, in order."""
        self.files = {}
        for shard in shards:
            record = read_record(self.workspace.paths.record(shard))
            self.files |= {shard.path(kind): record.files[kind] for kind in KINDS}
            for kind, modified in record.modified.items():
                self.seals[shard.path(kind)] = Seal(record.files[kind].sha256, modified)
            self.seconds += record.seconds
            if record.made not in self.provenances:
                self.provenances.append(record.made)
            yield record

    def made(self) -> dict[str, Any]:
        """Return the entry `made` of the manifest, when all records were read."""
        made = {**merge_provenance(self.provenances), "seconds": round(self.seconds, 1)}
        store = self.workspace.store
        return made if store is None else {**made, "store": store.url}


def _columns(workspace: Workspace) -> dict[str, Column]:
    """Return the columns that the rows of all shards have."""
    records = (read_record(workspace.paths.record(shard)) for shard in workspace.plan.shards)
    return common_columns(workspace.plan, (row for record in records for row in record.rows))


def _write_rows(workspace: Workspace, split: str, records: Iterator[ShardRecord], schema: pa.Schema) -> FileEntry:
    """Write the index of a split, sorted by run and step."""

    def tables() -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for record in records:  # a table per record would cost more than the rows of a small shard
            rows += record.rows
            if len(rows) >= _ROWS_PER_TABLE:
                yield pa.Table.from_pylist(rows, schema=schema)
                rows = []
        yield pa.Table.from_pylist(rows, schema=schema)

    rows: Iterable[pa.Table] = tables()
    if len(workspace.plan.architectures) > 1:  # their shards take turns
        rows = [pa.concat_tables(rows).sort_by([("run", "ascending"), ("step", "ascending")])]
    return write_index(workspace.directory / index_path(split), rows, schema)


def _remove_unlisted_shards(workspace: Workspace, files: Mapping[str, FileEntry]) -> None:
    """Remove shards left by a process that was killed while it renamed them."""
    for kind in KINDS:
        for path in (workspace.directory / kind).glob("*"):
            if f"{kind}/{path.name}" not in files:
                path.unlink()


def _write_seals(workspace: Workspace, files: Mapping[str, FileEntry], seals: Mapping[str, Seal]) -> None:
    """Seal the files of the zoo: those of the shards by their records, the others as they have just been written."""
    written = [path for path in files if path.partition("/")[0] not in KINDS]
    own = {path: Seal(files[path].sha256, modified_at(workspace.directory / path)) for path in written}
    write_seals(workspace.directory, {**seals, **own})


def _upload(workspace: Workspace, files: Mapping[str, FileEntry]) -> None:
    """Copy to the store, if there is one, what it does not have yet; the manifest last."""
    if workspace.store is not None:
        for path in (*(files.keys() - set(workspace.files_in_store(files))), MANIFEST):
            workspace.store.write(path, (workspace.directory / path).read_bytes())


def _digits_of_rollouts(workspace: Workspace) -> dict[str, Array] | None:
    """Return the digits that rollouts refer to (by their number in MNIST), None for a zoo without digits."""
    digits = workspace.plan.family.digits
    if digits is None:
        return None
    numbers = np.zeros(0, np.int32)
    for shard in workspace.plan.shards:
        numbers = np.union1d(numbers, _read_rollouts(workspace, shard)["images"])
    positions = torch.searchsorted(digits.numbers, torch.from_numpy(numbers.astype(np.int64)))
    return {
        "images": digits.images[positions, :PIXELS].view(-1, SIDE, SIDE).numpy(),
        "labels": digits.labels[positions].to(torch.uint8).numpy(),
        "numbers": numbers,
    }


def _read_rollouts(workspace: Workspace, shard: ShardPlan) -> Mapping[str, Array]:
    path = shard.path("rollouts")
    if workspace.store is None:
        return map_tensors(workspace.directory / path)
    return safetensors.numpy.load(workspace.store.read(path))


def _manifest(
    workspace: Workspace,
    columns: Mapping[str, Column],
    splits: dict[str, dict[str, int]],
    files: dict[str, FileEntry],
    made: dict[str, Any],
) -> Manifest:
    plan, family = workspace.plan, workspace.plan.family
    return Manifest(
        zoo=plan.zoo,
        preset=plan.preset,
        settings=plan.settings_data(),
        seed=plan.settings.seed,
        runs=plan.settings.runs,
        architectures=plan.settings.all_architectures(family),
        rollouts=family.rollout_shapes(plan.settings.evaluation_sizes(family)),
        columns={name: asdict(column) for name, column in columns.items()},
        splits=splits,
        digits=plan.digits(),
        made=made,
        files=files,
        shard_architectures=_shard_architectures(plan),
    )


def _shard_architectures(plan: Plan) -> dict[str, tuple[int, ...]] | None:
    """Return split -> number of the architecture of each shard; None if there is one architecture."""
    if not plan.settings.architectures:
        return None
    numbers: dict[str, list[int]] = {split: [] for split in SPLITS}
    for shard in plan.shards:
        numbers[shard.split].append(shard.architecture)
    return {split: tuple(of_split) for split, of_split in numbers.items()}
