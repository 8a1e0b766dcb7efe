"""Reopening: a finished zoo becomes an unfinished one again, whose shards have the records that they had then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rnn_zoos.errors import FormatError
from rnn_zoos.format.columns import unknown_labels
from rnn_zoos.format.files import FileEntry, check_bytes
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import Manifest, index_path, read_manifest
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.directory import OutputPaths
from rnn_zoos.generation.writing.identity import write_identity
from rnn_zoos.generation.writing.records import KINDS, REMEDY, ShardRecord
from rnn_zoos.generation.writing.seals import Seal, read_seals


def reopen_zoo(paths: OutputPaths, plan: Plan, store_url: str | None) -> int:
    """Turn a finished zoo into an unfinished one, because it is to be extended or files are missing.

    Returns the number of runs of the finished zoo.
    """
    manifest = read_manifest(paths.root)
    finished = replace(plan, settings=plan.settings.model_copy(update={"runs": manifest.runs}))
    shards = FinishedShards.of_zoo(paths.root, manifest, finished)
    for name, shard in shards.shards.items():
        shards.record(name).write(paths.record(shard))
    write_identity(paths, finished, store_url, manifest.runs)
    paths.manifest.unlink()
    return manifest.runs


@dataclass(frozen=True)
class _SplitIndex:
    """The index of a split, sorted by shard. Rows become dicts one shard at a time: all would take gigabytes."""

    table: pa.Table
    shards: npt.NDArray[np.int32]

    @classmethod
    def read(cls, path: Path, entry: FileEntry) -> _SplitIndex:
        """Read an index. Raises IntegrityError if it is damaged."""
        check_bytes(path, entry, REMEDY)
        table = read_index(path)
        shards = table["shard"].to_numpy()
        order = np.argsort(shards, kind="stable")
        return cls(table.take(order), shards[order])

    def rows(self, shard: int) -> list[dict[str, Any]]:
        """Return the rows of a shard, given by its number."""
        first, end = np.searchsorted(self.shards, [shard, shard + 1])
        return cast("list[dict[str, Any]]", self.table[first:end].to_pylist())


@dataclass(frozen=True)
class FinishedShards:
    """The shards of a finished zoo whose index exists, name -> shard, and the records that they had."""

    shards: Mapping[str, ShardPlan]
    _manifest: Manifest
    _plan_identity: Mapping[str, Any]
    _indexes: Mapping[str, _SplitIndex]
    _seals: Mapping[str, Seal]

    @classmethod
    def of_zoo(cls, directory: Path, manifest: Manifest, plan: Plan) -> FinishedShards:
        """Read the indexes of a zoo, which has this plan.

        Raises IntegrityError if one is damaged, FormatError if the zoo has labels that this version would drop.
        """
        if unknown := unknown_labels(manifest, plan.family):
            raise FormatError(
                f"{directory} has the labels {', '.join(unknown)}, which a later version of rnn-zoos measured; this "
                "one would drop them. Update rnn-zoos."
            )
        paths = {split: index_path(split) for split, counts in manifest.splits.items() if counts["shards"]}
        indexes = {
            split: _SplitIndex.read(directory / path, manifest.files[path])
            for split, path in paths.items()
            if (directory / path).is_file()
        }
        shards = {shard.name: shard for shard in plan.shards if shard.split in indexes}
        return cls(shards, manifest, plan.identity(), indexes, read_seals(directory))

    def record(self, name: str) -> ShardRecord:
        """Return the record that a shard, given by its name, had while the zoo was unfinished."""
        shard, made = self.shards[name], self._manifest.made
        files = {kind: self._manifest.files[shard.path(kind)] for kind in KINDS}
        seals = {kind: self._seals.get(shard.path(kind)) for kind in KINDS}
        valid = {kind: seal for kind, seal in seals.items() if seal and seal.sha256 == files[kind].sha256}
        return ShardRecord(
            plan=dict(self._plan_identity),
            runs=shard.run_numbers,
            files=files,
            seconds=made["seconds"] / sum(counts["shards"] for counts in self._manifest.splits.values()),
            rows=self._indexes[shard.split].rows(shard.number),
            made={key: made[key] for key in ("backend", "versions", "machine")},
            modified={kind: seal.modified for kind, seal in valid.items()},
        )
