"""Resuming: what earlier calls left in an output directory is matched with the plan, shard by shard.

A shard is finished while unfinished/ has its record, and set aside while unfinished/partial/ has it. A partial record
exists only with its own files beside it. So wherever a process is killed, one record says what the files must be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rnn_zoos.errors import IntegrityError
from rnn_zoos.format.files import Array, check_bytes
from rnn_zoos.format.tensors import map_tensors
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import Run, TrainedRun
from rnn_zoos.generation.writing.directory import OutputPaths
from rnn_zoos.generation.writing.records import KINDS, REMEDY, ShardRecord, read_record
from rnn_zoos.generation.writing.seals import SealedFile, verify
from rnn_zoos.generation.writing.store import Store


@dataclass(frozen=True)
class PartialShard:
    """Runs of a shard that need no training: their record and tensors, kind -> name -> [rows, ...]."""

    record: ShardRecord
    tensors: Mapping[str, Mapping[str, Array]]

    def missing_runs(self, shard: ShardPlan) -> tuple[Run, ...]:
        """Return the runs of the shard that still have to be trained."""
        return missing_runs(self.record, shard)

    def as_trained_runs(self, shard: ShardPlan) -> list[TrainedRun]:
        """Return the runs in the form in which a trainer returns them, so that they can be measured again."""
        first, trained = 0, []
        runs = {run.run: run for run in shard.runs}
        for number in self.record.runs:
            rows = [row for row in self.record.rows if row["run"] == number]
            chosen = slice(first, first + len(rows))
            weights = {name: torch.from_numpy(array[chosen].copy()) for name, array in self.tensors["shards"].items()}
            diverged = any(row["diverged"] for row in rows)
            trained.append(TrainedRun(runs[number], tuple(row["step"] for row in rows), weights, diverged))
            first += len(rows)
        return trained


def missing_runs(record: ShardRecord | None, shard: ShardPlan) -> tuple[Run, ...]:
    """Return the runs of a shard that a record, if there is one, does not have."""
    own = set(record.runs) if record else set()
    return tuple(run for run in shard.runs if run.run not in own)


def read_partial_record(paths: OutputPaths, shard: ShardPlan) -> ShardRecord | None:
    """Return what unfinished/partial/ holds of the runs of a shard, None unless all of its files are there.

    Of a record with more runs, as an extension that was abandoned leaves it, these are the first. Raises IntegrityError
    if the record is damaged, or does not describe its files or this shard.
    """
    path = paths.partial(shard, "record")
    if not all(paths.partial(shard, kind).is_file() for kind in ("record", *KINDS)):
        return None
    record = read_record(path)
    for kind in KINDS:
        if record.files[kind].rows != len(record.rows):
            raise IntegrityError(
                f"{path} describes {len(record.rows)} rows; {paths.partial(shard, kind).name} has "
                f"{record.files[kind].rows}. {REMEDY}"
            )
    common = min(len(record.runs), len(shard.table))
    runs = record.runs[:common]
    if runs != shard.run_numbers[:common]:
        raise IntegrityError(f"{path} has the runs {runs}; expected {shard.run_numbers[:common]}. {REMEDY}")
    kept = set(runs)
    seconds = record.seconds * common / max(len(record.runs), 1)
    return replace(record, runs=runs, rows=[row for row in record.rows if row["run"] in kept], seconds=seconds)


def read_partial_shard(paths: OutputPaths, shard: ShardPlan) -> PartialShard | None:
    """Return what unfinished/partial/ holds of a shard, None unless all of its files are there.

    The files are read and compared with their hashes, whatever their times: what is copied from them gets new ones.
    Raises IntegrityError if one is damaged.
    """
    record = read_partial_record(paths, shard)
    if record is None:
        return None
    tensors = {}
    for kind in KINDS:
        path = paths.partial(shard, kind)
        check_bytes(path, record.files[kind], REMEDY)
        tensors[kind] = {name: tensor[: len(record.rows)] for name, tensor in map_tensors(path).items()}
    return PartialShard(record, tensors)


@dataclass(frozen=True)
class _FoundShard:
    """A record of a shard with its files, kind -> file, where they are; none if they are in a store.

    `targets` are the places that record and files get when they have been verified.
    """

    record: Path
    files: Mapping[str, SealedFile]
    targets: Mapping[str, Path]

    def place(self) -> None:
        """Move the files to their places, and the record last: until then it stays valid where it was."""
        target = self.targets["record"]
        if target != self.record:
            target.unlink(missing_ok=True)  # first, because the files that it describes are replaced
        for kind, file in self.files.items():
            if file.path != self.targets[kind]:
                self.targets[kind].parent.mkdir(parents=True, exist_ok=True)
                file.path.rename(self.targets[kind])
        if target != self.record:
            self.record.rename(target)


def reconcile_shards(paths: OutputPaths, plan: Plan, store: Store | None, *, rehash: bool = False) -> list[ShardPlan]:
    """Bring the shards of a directory in line with a plan, and return those that still have to be made.

    Finished shards get the names that they have in this plan; those that have other runs in it, or no labels, go to
    unfinished/partial/; files without a record are removed. Raises IntegrityError if a file does not have the hash in
    its record, before any is moved. A file whose size and time of modification are those in its record is not read,
    unless `rehash`.
    """
    existing = paths.existing_shard_files()
    found, pending = list[_FoundShard](), list[ShardPlan]()
    for shard in plan.shards:
        own = _find(paths, shard, {kind: existing[kind].get(shard.name, []) for kind in KINDS}, store)
        if own is None or own.targets["record"] != paths.record(shard):
            pending.append(shard)
            own = own or _find_partial(paths, shard)
        if own is not None:
            found.append(own)
    _verify(found, rehash=rehash)
    for own in found:
        own.place()
    return pending


def _find(
    paths: OutputPaths, shard: ShardPlan, files: Mapping[str, list[Path]], store: Store | None
) -> _FoundShard | None:
    """Return a shard that has a record; if it has none, or lacks a file, remove what there is and return None."""
    record_path = paths.record(shard)
    if not record_path.is_file():
        _remove(files)
        return None
    record = read_record(record_path)
    fits = record.runs == shard.run_numbers and record.is_measured
    found: dict[str, SealedFile] | None
    if store is not None:
        found = {} if fits and _is_stored(shard, record, store) else None
    else:
        found = _locate(paths, shard, files, record)
    if found is None:
        record_path.unlink()
        _remove(files)
        return None
    return _FoundShard(record_path, found, _places(paths, shard) if fits else _partial_places(paths, shard))


def _places(paths: OutputPaths, shard: ShardPlan) -> dict[str, Path]:
    """Return where the record and the files of a finished shard are, kind -> path, the record first."""
    return {"record": paths.record(shard), **{kind: paths.root / shard.path(kind) for kind in KINDS}}


def _partial_places(paths: OutputPaths, shard: ShardPlan) -> dict[str, Path]:
    """Return where those of a shard that was set aside are."""
    return {kind: paths.partial(shard, kind) for kind in ("record", *KINDS)}


def _locate(
    paths: OutputPaths, shard: ShardPlan, files: Mapping[str, list[Path]], record: ShardRecord
) -> dict[str, SealedFile] | None:
    """Return the files of a record in unfinished/; None if one is missing.

    A process that was killed while it set the shard aside has left them in unfinished/partial/, and no record there.
    """
    moved = not paths.partial(shard, "record").is_file()
    found = {}
    for kind in KINDS:
        candidates = [*files[kind][-1:], *([paths.partial(shard, kind)] if moved else [])]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:  # the user removed it because it was damaged: the shard is made again
            return None
        found[kind] = SealedFile(path, record.files[kind], record.modified.get(kind))
    return found


def _find_partial(paths: OutputPaths, shard: ShardPlan) -> _FoundShard | None:
    """Return what was set aside of a shard; if a file is missing, remove the others and return None."""
    files = _partial_places(paths, shard)
    if not all(path.is_file() for path in files.values()):
        _remove({kind: [path] for kind, path in files.items() if path.is_file()})
        return None
    record = read_record(files["record"])
    sealed = {kind: SealedFile(files[kind], record.files[kind], record.modified.get(kind)) for kind in KINDS}
    return _FoundShard(files["record"], sealed, files)


def _verify(found: Sequence[_FoundShard], *, rehash: bool) -> None:
    """Check the files of shards where they are, and seal those that were not."""
    times = iter(verify([file for own in found for file in own.files.values()], REMEDY, rehash=rehash))
    for own in found:
        modified = {kind: next(times) for kind in own.files}
        if any(file.modified != modified[kind] for kind, file in own.files.items()):
            replace(read_record(own.record), modified=modified).write(own.record)


def _is_stored(shard: ShardPlan, record: ShardRecord, store: Store) -> bool:
    """Return whether a store has the files of a shard, by their sizes."""
    return all(store.size(shard.path(kind)) == record.files[kind].bytes for kind in KINDS)


def _remove(files: Mapping[str, list[Path]]) -> None:
    """Remove files of a shard, in the given order; that of a record that is not valid comes first."""
    for paths in files.values():
        for path in paths:
            path.unlink()
