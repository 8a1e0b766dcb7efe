"""Reopening: a finished zoo becomes an unfinished one again, whose shards have the records that they had then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rnn_zoos.errors import FormatError, IntegrityError
from rnn_zoos.format.columns import unknown_labels
from rnn_zoos.format.files import FileEntry, check_bytes
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import Manifest, index_path, read_manifest
from rnn_zoos.format.tensors import map_tensors
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import settings_of_run
from rnn_zoos.generation.writing.directory import OutputPaths
from rnn_zoos.generation.writing.identity import identity_in_record, write_identity
from rnn_zoos.generation.writing.records import KINDS, REMEDY, ShardRecord
from rnn_zoos.generation.writing.seals import Seal, read_seals
from rnn_zoos.networks.model import initial_weights


def reopen_zoo(paths: OutputPaths, plan: Plan, store_url: str | None) -> int:
    """Turn a finished zoo into an unfinished one, because it is to be extended or files are missing.

    Shards whose index is missing get records without labels: they are measured again, not trained. Those of a store are
    out of reach for that. Returns the number of runs of the finished zoo. Raises IntegrityError if an index is damaged,
    or missing with its shards in a store.
    """
    manifest = read_manifest(paths.root)
    finished = replace(plan, settings=plan.settings.model_copy(update={"runs": manifest.runs}))
    shards = FinishedShards.of_zoo(paths.root, manifest, finished)
    for shard in finished.shards:
        if shard.name not in shards.shards and store_url is not None:
            raise IntegrityError(
                f"{paths.root / index_path(shard.split)} is missing, and without it all runs of {shard.split} would be "
                f"trained again. Copy it from {store_url}, or choose another --out and another --store."
            )
        record = shards.record(shard.name) if shard.name in shards.shards else shards.unmeasured_record(shard)
        if record is not None:
            record.write(paths.record(shard))
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
    _directory: Path
    _manifest: Manifest
    _plan: Plan
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
        identity = identity_in_record(plan, manifest.made.get("store"))
        return cls(shards, directory, manifest, plan, identity, indexes, read_seals(directory))

    def record(self, name: str) -> ShardRecord:
        """Return the record that a shard, given by its name, had while the zoo was unfinished."""
        shard = self.shards[name]
        return self._record(shard, self._indexes[shard.split].rows(shard.number))

    def unmeasured_record(self, shard: ShardPlan) -> ShardRecord | None:
        """Return the record of a shard whose index is missing: its rows have run, step and diverged alone.

        None if a file is missing, or if the weights do not tell which snapshots its runs have. Raises IntegrityError if
        they are damaged.
        """
        paths = [self._directory / shard.path(kind) for kind in KINDS]
        if not all(path.is_file() for path in paths):
            return None
        counts = count_snapshots(self._plan, shard, paths[0], self._manifest.files[shard.path("shards")])
        if counts is None:
            return None
        rows = []
        for run, count in zip(shard.runs, counts, strict=True):
            steps = settings_of_run(self._plan.settings, run).snapshots
            rows += [{"run": run.run, "step": step, "diverged": count < len(steps)} for step in steps[:count]]
        return self._record(shard, rows)

    def _record(self, shard: ShardPlan, rows: list[dict[str, Any]]) -> ShardRecord:
        made = self._manifest.made
        files = {kind: self._manifest.files[shard.path(kind)] for kind in KINDS}
        seals = {kind: self._seals.get(shard.path(kind)) for kind in KINDS}
        valid = {kind: seal for kind, seal in seals.items() if seal and seal.sha256 == files[kind].sha256}
        return ShardRecord(
            plan=dict(self._plan_identity),
            runs=shard.run_numbers,
            files=files,
            seconds=made["seconds"] / sum(counts["shards"] for counts in self._manifest.splits.values()),
            rows=rows,
            made={key: made[key] for key in ("backend", "versions", "machine")},
            modified={kind: seal.modified for kind, seal in valid.items()},
        )


def count_snapshots(plan: Plan, shard: ShardPlan, path: Path, entry: FileEntry) -> list[int] | None:
    """Return how many snapshots each run of a shard has, by its weights; None if they do not tell.

    A run that diverged lacks its last snapshots. The first one is known by its weights, if it is that of step 0.

    Args:
        plan: the plan of the zoo.
        shard: the shard.
        path: the file with its weights.
        entry: the entry of this file in the manifest.

    Raises:
        IntegrityError: the file is damaged.
    """
    planned = [len(settings_of_run(plan.settings, run).snapshots) for run in shard.runs]
    if sum(planned) == entry.rows:
        return planned
    check_bytes(path, entry, REMEDY)
    tensors, starts, architecture = map_tensors(path), list[int](), plan.architectures[shard.architecture]
    for run in shard.runs:
        initial = initial_weights(architecture, plan.settings.seed, run.run, run.initial_scale)
        rows = range(starts[-1] + 1 if starts else 0, entry.rows)
        start = next((r for r in rows if all(np.array_equal(tensors[n][r], w) for n, w in initial.items())), None)
        if start is None:
            return None
        starts.append(start)
    counts = [end - start for start, end in zip(starts, [*starts[1:], entry.rows], strict=True)]
    return counts if starts[0] == 0 and all(n <= most for n, most in zip(counts, planned, strict=True)) else None
