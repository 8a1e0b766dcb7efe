"""The output directory while a zoo is being made: whose it is, what is finished, and how it becomes a zoo.

shards/, rollouts/               finished shards, each written whole or not at all
unfinished/plan.json             the plan that the directory was begun with
unfinished/train-00000.json      index rows of a finished shard, with the hashes of its files: written last
unfinished/partial/              the last shards of a zoo that is being extended: their runs are kept, not trained again
zoo.json                         written when all is done; then unfinished/ goes
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rnn_zoos.errors import BusyError, FormatError, IntegrityError, PlanMismatchError, StorageError
from rnn_zoos.format.files import (
    TEMPORARY,
    Array,
    check_bytes,
    map_tensors,
    read_sealed_json,
    write_atomically,
    write_sealed_json,
)
from rnn_zoos.format.index import read_index
from rnn_zoos.format.manifest import MANIFEST, UNFINISHED, Manifest, index_path, read_manifest
from rnn_zoos.generation.plan import Plan, ShardPlan
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.records import KINDS, REMEDY, MadeShard, ShardRecord, read_record
from rnn_zoos.generation.writing.store import Store

_LOCK = ".lock"
_PARTIAL = "partial"


@dataclass(frozen=True)
class KeptRuns:
    """The first runs of a shard that has to grow: their record and tensors, kind -> name -> [rows, ...]."""

    record: ShardRecord
    tensors: Mapping[str, Mapping[str, Array]]

    def missing(self, shard: ShardPlan) -> tuple[Run, ...]:
        """Return the runs of the shard that are still to be trained."""
        return tuple(run for run in shard.runs if run.run not in set(self.record.runs))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process. Raises BusyError if another one has it, StorageError if it is read-only."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / _LOCK, timeout=0):
            yield
    except Timeout:
        raise BusyError(
            f"{directory} is being written by another process. Wait for it to end, or give another --out directory."
        ) from None
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{directory} cannot be written: {error.strerror or error}. Give another --out.") from error


class Workspace:
    """An output directory and the plan that it is for. Use it under `locked`.

    With a `store`, the shards' files are there and not in the directory, which has all the rest.
    """

    def __init__(self, directory: Path, plan: Plan, store: Store | None = None) -> None:
        self.directory = directory
        self.plan = plan
        self.store = store
        self.unfinished = directory / UNFINISHED

    def look(self) -> dict[str, Any] | None:
        """Return the identity of the plan that the directory was begun with, None if it is new; change nothing.

        Raises PlanMismatchError if that is another plan, FormatError if the directory holds something else.
        """
        begun = self._begun()
        if begun is not None:
            self._refuse_other_plan(begun)
        elif self.directory.is_dir():
            left_over = [path for path in self.unfinished.rglob("*") if path.name.endswith(TEMPORARY)]
            known = {self.directory / _LOCK, self.unfinished, *left_over}
            if any(path not in known for path in self.directory.rglob("*")):
                raise FormatError(
                    f"{self.directory} is not empty and holds no zoo. Give --out a new or empty directory."
                )
        return begun

    def prepare(self) -> list[ShardPlan] | None:
        """Make the directory ready for the plan; return the shards that are still to be made, None if it is finished.

        Raises what `look` raises, before anything is changed, and IntegrityError if a finished file is damaged.
        """
        begun = self.look() or {}
        if self._is_finished():
            return None
        finished_runs = begun.get("finished_runs", 0)
        if (self.directory / MANIFEST).is_file():
            finished_runs = self._reopen()
        self._write_plan(self.plan, finished_runs)
        remove_temporary(self.directory)
        there = self._there()
        return [shard for shard in self.plan.shards if not self._settle(shard, there)]

    def _there(self) -> dict[str, dict[str, list[Path]]]:
        """Return the shards' files that are there, whatever number of shards their names tell: kind -> name -> paths.

        One look at the folders: one for every shard would take an hour for 20,000.
        """
        found: dict[str, dict[str, list[Path]]] = {kind: defaultdict(list) for kind in KINDS}
        for kind in KINDS:
            for path in (self.directory / kind).glob("*-of-*.safetensors"):
                found[kind][path.name.rpartition("-of-")[0]].append(path)
        return found

    def _is_finished(self) -> bool:
        """Tell whether the directory already holds the whole zoo. Raises IntegrityError for damaged files."""
        if self.unfinished.exists() or not (self.directory / MANIFEST).is_file():
            return False
        manifest = read_manifest(self.directory)
        if manifest.runs != self.plan.settings.runs:
            return False
        stored = self.elsewhere(manifest.files)
        if self.store is not None and any(self.store.size(path) != manifest.files[path].bytes for path in stored):
            return False
        here = manifest.files.keys() - set(stored)
        present = [path for path in here if (self.directory / path).is_file()]
        for path in present:
            check_bytes(self.directory / path, manifest.files[path], REMEDY)
        return len(present) == len(here)

    def elsewhere(self, files: Iterable[str]) -> list[str]:
        """Return those of the files of the zoo that the store holds."""
        return [path for path in files if path.partition("/")[0] in KINDS] if self.store else []

    def kept_runs(self, shard: ShardPlan) -> KeptRuns | None:
        """Return what a partial shard holds of an unfinished one."""
        paths = {kind: self.partial_path(shard, kind) for kind in ("record", *KINDS)}
        if not all(path.is_file() for path in paths.values()):
            return None
        return KeptRuns(read_record(paths["record"]), {kind: map_tensors(paths[kind]) for kind in KINDS})

    def missing_runs(self, shard: ShardPlan) -> tuple[Run, ...]:
        """Return the runs of an unfinished shard that have to be trained: those that no partial shard holds."""
        kept = self.kept_runs(shard)
        return shard.runs if kept is None else kept.missing(shard)

    def write(self, shard: ShardPlan, made: MadeShard) -> None:
        """Write a shard, or what of it is not in the store already; the record, written last, makes it count."""
        for kind, data in made.files.items():
            write_atomically(self.directory / shard.path(kind), data)
        made.record.write(self.record_path(shard))

    @property
    def _plan_path(self) -> Path:
        return self.unfinished / "plan.json"

    def record_path(self, shard: ShardPlan) -> Path:
        """Where the record of a finished shard belongs."""
        return self.unfinished / f"{shard.name}.json"

    def partial_path(self, shard: ShardPlan, kind: str) -> Path:
        """Where a shard that has to grow waits; `kind` is record, shards or rollouts."""
        suffix = "json" if kind == "record" else "safetensors"
        return self.unfinished / _PARTIAL / f"{shard.name}.{kind}.{suffix}"

    def _begun(self) -> dict[str, Any] | None:
        """Return the identity of the plan that the directory was begun with."""
        try:
            if self._plan_path.is_file():
                return read_sealed_json(self._plan_path, "Give another --out directory.")
        except IntegrityError:
            if not list(self.unfinished.glob("*-*.json")):
                raise
        for path in sorted(self.unfinished.glob("*-*.json")):
            return read_record(path).plan
        if (self.directory / MANIFEST).is_file():
            manifest = read_manifest(self.directory)
            made = {"zoo": manifest.zoo, "backend": manifest.made["backend"], "digits": manifest.digits}
            return {**made, **manifest.settings, "preset": manifest.preset, "store": manifest.made.get("store")}
        return None

    def _refuse_other_plan(self, begun: dict[str, Any]) -> None:
        asked = self.plan.identity()
        differing = [key for key in asked if key != "runs" and asked[key] != begun.get(key)]
        lines = [f"  {key}: {begun.get(key)!r} there, {asked[key]!r} asked for" for key in differing]
        if asked["runs"] < begun["runs"] and asked["runs"] != begun.get("finished_runs"):
            back = f", or go back to {begun['finished_runs']}" if begun.get("finished_runs") else ", not shrink"
            lines.append(f"  runs: {begun['runs']} there, only {asked['runs']} asked for (a zoo can grow{back})")
        if begun.get("store") != self._store_url:
            lines.append(f"  store: {begun.get('store')} there, {self._store_url} asked for")
        elif self.store is not None and asked["runs"] != begun["runs"]:
            lines.append(f"  runs: {begun['runs']} there, {asked['runs']} asked for (a zoo in a store cannot grow)")
        if lines:
            raise PlanMismatchError(
                f"{self.directory} was begun with another plan; nothing was changed:\n"
                + "\n".join(lines)
                + "\nGive another --out directory, or the settings that it was begun with."
            )

    def _reopen(self) -> int:
        """Turn a finished zoo into an unfinished one, because runs are to be added or files are missing.

        Returns its number of runs.
        """
        manifest = read_manifest(self.directory)
        finished = replace(self.plan, settings=self.plan.settings.model_copy(update={"runs": manifest.runs}))
        for shard, record in records_of_zoo(self.directory, manifest, finished):
            record.write(self.record_path(shard))
        self._write_plan(finished, manifest.runs)
        (self.directory / MANIFEST).unlink()
        return manifest.runs

    def _write_plan(self, plan: Plan, finished_runs: int) -> None:
        about = {"preset": plan.preset, "store": self._store_url, "finished_runs": finished_runs}
        write_sealed_json(self._plan_path, {**plan.identity(), **about})

    @property
    def _store_url(self) -> str | None:
        return self.store.url if self.store else None

    def _settle(self, shard: ShardPlan, there: Mapping[str, Mapping[str, list[Path]]]) -> bool:
        """Tell whether a shard is finished; give its files this plan's names, or set it aside if it has to grow."""
        record_path = self.record_path(shard)
        found = {kind: there[kind].get(shard.name, []) for kind in KINDS}
        if not record_path.is_file():
            _remove(found)
            return False
        record = read_record(record_path)
        if len(record.runs) > len(shard.runs):  # of an extension that was given up
            _remove(found)
            record_path.unlink()
            return False
        grown = record.runs != shard.run_numbers
        if self.store is not None:
            return self._settle_stored(self.store, shard, record, grown=grown)
        for kind in KINDS:
            target = self.partial_path(shard, kind) if grown else self.directory / shard.path(kind)
            for path in found[kind]:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
            if not target.is_file():  # removed by the user, because it was damaged: to be made again
                record_path.unlink()
                return False
            check_bytes(target, record.files[kind], REMEDY)
        if grown:
            record_path.rename(self.partial_path(shard, "record"))
        return not grown

    def _settle_stored(self, store: Store, shard: ShardPlan, record: ShardRecord, *, grown: bool) -> bool:
        """Tell whether a shard is finished and its files are in the store."""
        if grown or any(store.size(shard.path(kind)) != record.files[kind].bytes for kind in KINDS):
            self.record_path(shard).unlink()
            return False
        return True


def records_of_zoo(directory: Path, manifest: Manifest, plan: Plan) -> Iterator[tuple[ShardPlan, ShardRecord]]:
    """Yield every shard of a finished zoo whose index is there, with the record that it had while it was unfinished.

    Raises IntegrityError if an index is damaged.
    """
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


def _remove(found: Mapping[str, list[Path]]) -> None:
    """Remove files of a shard that no record vouches for."""
    for paths in found.values():
        for path in paths:
            path.unlink()


def remove_temporary(directory: Path) -> list[Path]:
    """Remove what killed processes had not finished writing; return the paths. Call it under `locked`."""
    left_over = list(directory.rglob(f".*{TEMPORARY}"))
    for path in left_over:
        path.unlink(missing_ok=True)
    return left_over


def repair(directory: Path) -> list[Path]:
    """Remove temporary files from a directory that nobody writes to; return their paths. Raises BusyError."""
    if not directory.is_dir():
        return []
    with locked(directory):
        return remove_temporary(directory)
