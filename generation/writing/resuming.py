"""Resuming: what earlier calls left in an output directory is matched with the plan, shard by shard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rnn_zoos.errors import FormatError
from rnn_zoos.format.columns import unknown_labels
from rnn_zoos.format.files import Array, check_bytes, map_tensors
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import Manifest, index_path, read_manifest
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.directory import OutputPaths
from rnn_zoos.generation.writing.identity import write_identity
from rnn_zoos.generation.writing.records import KINDS, REMEDY, ShardRecord, read_record
from rnn_zoos.generation.writing.store import Store


@dataclass(frozen=True)
class PartialShard:
    """The first runs of a shard that has to grow: their record and tensors, kind -> name -> [rows, ...]."""

    record: ShardRecord
    tensors: Mapping[str, Mapping[str, Array]]

    def missing_runs(self, shard: ShardPlan) -> tuple[Run, ...]:
        """Return the runs of the shard that still have to be trained."""
        return tuple(run for run in shard.runs if run.run not in set(self.record.runs))


def read_partial_shard(paths: OutputPaths, shard: ShardPlan) -> PartialShard | None:
    """Return what unfinished/partial/ holds of a shard, None unless all of its files are there."""
    files = {kind: paths.partial(shard, kind) for kind in ("record", *KINDS)}
    if not all(path.is_file() for path in files.values()):
        return None
    return PartialShard(read_record(files["record"]), {kind: map_tensors(files[kind]) for kind in KINDS})


def reopen_zoo(paths: OutputPaths, plan: Plan, store_url: str | None) -> int:
    """Turn a finished zoo into an unfinished one, because it is to be extended or files are missing.

    Returns the number of runs of the finished zoo.
    """
    manifest = read_manifest(paths.root)
    finished = replace(plan, settings=plan.settings.model_copy(update={"runs": manifest.runs}))
    for shard, record in records_of_zoo(paths.root, manifest, finished):
        record.write(paths.record(shard))
    write_identity(paths, finished, store_url, manifest.runs)
    paths.manifest.unlink()
    return manifest.runs


def records_of_zoo(directory: Path, manifest: Manifest, plan: Plan) -> Iterator[tuple[ShardPlan, ShardRecord]]:
    """Yield every shard of a finished zoo whose index exists, with the record that it had while it was unfinished.

    Raises IntegrityError if an index is damaged, and FormatError if the zoo has labels that this version would drop.
    """
    if unknown := unknown_labels(manifest, plan.family):
        raise FormatError(
            f"{directory} has the labels {', '.join(unknown)}, which a later version of rnn-zoos measured; this one "
            "would drop them. Update rnn-zoos."
        )
    made = {key: manifest.made[key] for key in ("backend", "versions", "machine")}
    seconds = manifest.made["seconds"] / max(len(plan.shards), 1)
    rows: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for shard in plan.shards:
        path = index_path(shard.split)
        if path not in rows and (directory / path).is_file():
            check_bytes(directory / path, manifest.files[path], REMEDY)
            rows[path] = defaultdict(list)
            for row in read_index(directory / path).to_pylist():
                rows[path][row["shard"]].append(row)
        if path in rows:
            files = {kind: manifest.files[shard.path(kind)] for kind in KINDS}
            yield shard, ShardRecord(plan.identity(), shard.run_numbers, files, seconds, rows[path][shard.number], made)


def reconcile_shards(paths: OutputPaths, plan: Plan, store: Store | None) -> list[ShardPlan]:
    """Bring the shards of a directory in line with a plan, and return those that still have to be made.

    Finished shards get the names that they have in this plan; those that have to grow go to unfinished/partial/; files
    without a record are removed. Raises IntegrityError if a file does not have the hash in its record.
    """
    existing = paths.existing_shard_files()

    def is_finished(shard: ShardPlan) -> bool:
        return _reconcile(paths, shard, {kind: existing[kind].get(shard.name, []) for kind in KINDS}, store)

    return [shard for shard in plan.shards if not is_finished(shard)]


def _reconcile(paths: OutputPaths, shard: ShardPlan, files: Mapping[str, list[Path]], store: Store | None) -> bool:
    """Rename, set aside or remove the files of one shard; return whether it is finished."""
    record_path = paths.record(shard)
    if not record_path.is_file():
        _remove(files)
        return False
    record = read_record(record_path)
    if len(record.runs) > len(shard.runs):  # left by an extension that was abandoned
        _remove(files)
        record_path.unlink()
        return False
    must_grow = record.runs != shard.run_numbers
    if store is not None:
        return _reconcile_stored(record_path, shard, record, store, must_grow=must_grow)
    targets = {kind: paths.partial(shard, kind) if must_grow else paths.root / shard.path(kind) for kind in KINDS}
    if not _move(files, targets, record):
        record_path.unlink()
        return False
    if must_grow:
        record_path.rename(paths.partial(shard, "record"))
    return not must_grow


def _move(files: Mapping[str, list[Path]], targets: Mapping[str, Path], record: ShardRecord) -> bool:
    """Move a shard's files to their places and check them; return False if one is missing."""
    for kind, target in targets.items():
        for path in files[kind]:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        if not target.is_file():  # the user removed it because it was damaged: the shard is made again
            return False
        check_bytes(target, record.files[kind], REMEDY)
    return True


def _reconcile_stored(
    record_path: Path, shard: ShardPlan, record: ShardRecord, store: Store, *, must_grow: bool
) -> bool:
    """Return whether a shard in a store is finished; if not, remove its record."""
    if must_grow or any(store.size(shard.path(kind)) != record.files[kind].bytes for kind in KINDS):
        record_path.unlink()
        return False
    return True


def _remove(files: Mapping[str, list[Path]]) -> None:
    """Remove files of a shard that has no valid record."""
    for paths in files.values():
        for path in paths:
            path.unlink()
