"""Resuming: what earlier calls left in an output directory is matched with the plan, shard by shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rnn_zoos.format.files import Array, map_tensors
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.directory import OutputPaths
from rnn_zoos.generation.writing.records import KINDS, REMEDY, ShardRecord, read_record
from rnn_zoos.generation.writing.seals import SealedFile, verify
from rnn_zoos.generation.writing.store import Store


@dataclass(frozen=True)
class PartialShard:
    """The first runs of a shard that has to grow: their record and tensors, kind -> name -> [rows, ...]."""

    record: ShardRecord
    tensors: Mapping[str, Mapping[str, Array]]

    def missing_runs(self, shard: ShardPlan) -> tuple[Run, ...]:
        """Return the runs of the shard that still have to be trained."""
        own = set(self.record.runs)
        return tuple(run for run in shard.runs if run.run not in own)


def read_partial_shard(paths: OutputPaths, shard: ShardPlan) -> PartialShard | None:
    """Return what unfinished/partial/ holds of a shard, None unless all of its files are there."""
    files = {kind: paths.partial(shard, kind) for kind in ("record", *KINDS)}
    if not all(path.is_file() for path in files.values()):
        return None
    return PartialShard(read_record(files["record"]), {kind: map_tensors(files[kind]) for kind in KINDS})


@dataclass(frozen=True)
class _FoundShard:
    """A shard with a record, and its files in the output directory, kind -> file; none if they are in a store."""

    shard: ShardPlan
    files: Mapping[str, SealedFile]
    must_grow: bool


def reconcile_shards(paths: OutputPaths, plan: Plan, store: Store | None, *, rehash: bool = False) -> list[ShardPlan]:
    """Bring the shards of a directory in line with a plan, and return those that still have to be made.

    Finished shards get the names that they have in this plan; those that have to grow go to unfinished/partial/; files
    without a record are removed. Raises IntegrityError if a file does not have the hash in its record. A file whose
    size and time of modification are those in its record is not read, unless `rehash`.
    """
    existing = paths.existing_shard_files()
    found, pending = list[_FoundShard](), list[ShardPlan]()
    for shard in plan.shards:
        own = _find(paths, shard, {kind: existing[kind].get(shard.name, []) for kind in KINDS}, store)
        if own is not None:
            found.append(own)
        if own is None or own.must_grow:
            pending.append(shard)
    _verify(paths, found, rehash=rehash)
    return pending


def _find(
    paths: OutputPaths, shard: ShardPlan, files: Mapping[str, list[Path]], store: Store | None
) -> _FoundShard | None:
    """Rename, set aside or remove the files of one shard; return it, None if it has to be made anew."""
    record_path = paths.record(shard)
    if not record_path.is_file():
        _remove(files)
        return None
    record = read_record(record_path)
    if len(record.runs) > len(shard.runs):  # left by an extension that was abandoned
        _remove(files)
        record_path.unlink()
        return None
    must_grow = record.runs != shard.run_numbers
    found: dict[str, SealedFile] | None
    if store is not None:
        found = None if must_grow or not _is_stored(shard, record, store) else {}
    else:
        targets = {kind: paths.partial(shard, kind) if must_grow else paths.root / shard.path(kind) for kind in KINDS}
        found = _move(files, targets, record)
    if found is None:
        record_path.unlink()
        return None
    return _FoundShard(shard, found, must_grow)


def _move(
    files: Mapping[str, list[Path]], targets: Mapping[str, Path], record: ShardRecord
) -> dict[str, SealedFile] | None:
    """Move a shard's files to their places and return them; None if one is missing."""
    for kind, target in targets.items():
        for path in files[kind]:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        if not target.is_file():  # the user removed it because it was damaged: the shard is made again
            return None
    return {kind: SealedFile(path, record.files[kind], record.modified.get(kind)) for kind, path in targets.items()}


def _verify(paths: OutputPaths, found: Sequence[_FoundShard], *, rehash: bool) -> None:
    """Check the files of shards, seal those that were not, and set aside the records of shards that have to grow."""
    times = iter(verify([file for own in found for file in own.files.values()], REMEDY, rehash=rehash))
    for own in found:
        record_path = paths.record(own.shard)
        modified = {kind: next(times) for kind in own.files}
        if any(file.modified != modified[kind] for kind, file in own.files.items()):
            replace(read_record(record_path), modified=modified).write(record_path)
        if own.must_grow:
            record_path.rename(paths.partial(own.shard, "record"))


def _is_stored(shard: ShardPlan, record: ShardRecord, store: Store) -> bool:
    """Return whether a store has the files of a shard, by their sizes."""
    return all(store.size(shard.path(kind)) == record.files[kind].bytes for kind in KINDS)


def _remove(files: Mapping[str, list[Path]]) -> None:
    """Remove files of a shard that has no valid record."""
    for paths in files.values():
        for path in paths:
            path.unlink()
