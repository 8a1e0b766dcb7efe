"""From finished shards to a zoo: the index, the digits and, last of all, zoo.json."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
import torch

from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.rotation import PIXELS, SIDE
from rnn_zoos.families.sequential_mnist import SequentialMnist
from rnn_zoos.format.files import Array, FileEntry, map_tensors, write_tensors
from rnn_zoos.format.index import index_schema, write_index
from rnn_zoos.format.manifest import DIGITS, FORMAT, MANIFEST, Manifest, index_path
from rnn_zoos.generation.plan import ShardPlan
from rnn_zoos.generation.writing.records import KINDS, ShardRecord, joined_making, read_record
from rnn_zoos.generation.writing.workspace import Workspace

_ROWS_A_TABLE = 2000


def finish(workspace: Workspace) -> Manifest:
    """Make a zoo of a workspace whose shards are all there, then drop what only unfinished zoos have.

    Records are read one at a time: the rows of a large zoo would not fit into memory.
    """
    files: dict[str, FileEntry] = {}
    splits, seen = {}, _Seen()
    for split in SPLITS:
        shards = [shard for shard in workspace.plan.shards if shard.split == split]
        rows = 0
        if shards:
            entry = _write_rows(workspace, split, seen.records(workspace, shards))
            files |= {index_path(split): entry, **seen.files}
            rows = entry.rows
        splits[split] = {"runs": sum(len(shard.table) for shard in shards), "rows": rows, "shards": len(shards)}
    if digits := _shown_digits(workspace):
        files[DIGITS] = write_tensors(workspace.directory / DIGITS, digits, {"format": FORMAT})
    made = {**joined_making(seen.makings), "seconds": round(seen.seconds, 1)}
    if workspace.store is not None:
        made["store"] = workspace.store.url
    manifest = _manifest(workspace, splits, files, made)
    _remove_unlisted(workspace, files)
    manifest.write(workspace.directory)
    if workspace.store is not None:
        for path in (*(files.keys() - set(workspace.elsewhere(files))), MANIFEST):
            workspace.store.write(path, (workspace.directory / path).read_bytes())
    shutil.rmtree(workspace.unfinished)
    return manifest


@dataclass
class _Seen:
    """What is kept of records that were read: the files of a split, and of all how long they took and who made them."""

    files: dict[str, FileEntry] = field(default_factory=dict)
    seconds: float = 0.0
    makings: list[dict[str, Any]] = field(default_factory=list)

    def records(self, workspace: Workspace, shards: list[ShardPlan]) -> Iterator[ShardRecord]:
        """Yield the records of a split's shards, in order."""
        self.files = {}
        for shard in shards:
            record = read_record(workspace.record_path(shard))
            self.files |= {shard.path(kind): record.files[kind] for kind in KINDS}
            self.seconds += record.seconds
            if record.made not in self.makings:
                self.makings.append(record.made)
            yield record


def _write_rows(workspace: Workspace, split: str, records: Iterator[ShardRecord]) -> FileEntry:
    schema = index_schema(workspace.plan.family.columns)

    def tables() -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for record in records:  # a table for every record would cost more than the rows of a small shard
            rows += record.rows
            if len(rows) >= _ROWS_A_TABLE:
                yield pa.Table.from_pylist(rows, schema=schema)
                rows = []
        yield pa.Table.from_pylist(rows, schema=schema)

    return write_index(workspace.directory / index_path(split), tables(), schema)


def _remove_unlisted(workspace: Workspace, files: Mapping[str, FileEntry]) -> None:
    """Remove shards left by a process that was killed while it renamed."""
    for kind in KINDS:
        for path in (workspace.directory / kind).glob("*"):
            if f"{kind}/{path.name}" not in files:
                path.unlink()


def _shown_digits(workspace: Workspace) -> dict[str, Array] | None:
    """Return the digits that rollouts point to (by their number in MNIST), if the zoo has any."""
    family = workspace.plan.family
    if not isinstance(family, SequentialMnist):
        return None
    shown = np.zeros(0, np.int32)
    for shard in workspace.plan.shards:
        shown = np.union1d(shown, _rollouts(workspace, shard)["images"])
    places = torch.searchsorted(family.digits.numbers, torch.from_numpy(shown.astype(np.int64)))
    return {
        "images": family.digits.images[places, :PIXELS].view(-1, SIDE, SIDE).numpy(),
        "labels": family.digits.labels[places].to(torch.uint8).numpy(),
        "numbers": shown,
    }


def _rollouts(workspace: Workspace, shard: ShardPlan) -> Mapping[str, Array]:
    path = shard.path("rollouts")
    if workspace.store is None:
        return map_tensors(workspace.directory / path)
    return safetensors.numpy.load(workspace.store.read(path))


def _manifest(
    workspace: Workspace, splits: dict[str, dict[str, int]], files: dict[str, FileEntry], made: dict[str, Any]
) -> Manifest:
    plan, family = workspace.plan, workspace.plan.family
    return Manifest(
        zoo=plan.zoo,
        preset=plan.preset,
        settings=plan.settings_data(),
        seed=plan.settings.seed,
        runs=plan.settings.runs,
        architecture=plan.architecture,
        rollouts=family.rollout_shapes(plan.settings.evaluation_sizes(family)),
        columns={name: asdict(column) for name, column in family.columns.items()},
        splits=splits,
        digits=plan.digits(),
        made=made,
        files=files,
    )
