"""The workspace of one generation: an output directory with the plan that is carried out in it.

It decides whether a directory may be used for a plan, which shards are still missing, and where shards are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnn_zoos.errors import FormatError, StorageError
from rnn_zoos.format.files import FileEntry, write_atomically
from rnn_zoos.format.manifest import read_manifest
from rnn_zoos.generation.plan import Plan
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.trainers.trainer import Run
from rnn_zoos.generation.writing.directory import OutputPaths, remove_temporary_files
from rnn_zoos.generation.writing.identity import (
    check_identity,
    identity_in_record,
    read_identity,
    with_stored_shards,
    write_identity,
)
from rnn_zoos.generation.writing.records import KINDS, REMEDY, ComputedShard
from rnn_zoos.generation.writing.reopening import reopen_zoo
from rnn_zoos.generation.writing.resuming import (
    PartialShard,
    missing_runs,
    read_partial_record,
    read_partial_shard,
    reconcile_shards,
)
from rnn_zoos.generation.writing.seals import Seal, SealedFile, modified_at, read_seals, verify, write_seals
from rnn_zoos.generation.writing.store import Store


class Workspace:
    """An output directory and the plan that is carried out in it. Its caller holds the lock (`directory.locked`).

    With a `store`, the files of the shards are in the store; everything else is in the directory.
    """

    def __init__(self, directory: Path, plan: Plan, store: Store | None = None) -> None:
        self.directory = directory
        self.paths = OutputPaths(directory)
        self.plan = plan
        self.store = store

    def check_directory(self) -> dict[str, Any] | None:
        """Return the identity of the plan that the directory was started with, None if it is new; write nothing.

        This needs no lock. The plan of the workspace gets the shards of the directory (`with_stored_shards`). Raises
        PlanMismatchError if it is another plan, FormatError if the directory holds something else.
        """
        stored = read_identity(self.paths)
        if stored is not None:
            self.plan = with_stored_shards(self.plan, stored)
            check_identity(self.directory, stored, self.plan, self._store_url)
        elif self.directory.is_dir() and self.paths.has_foreign_files():
            raise FormatError(
                f"{self.directory} is not empty and contains no zoo. Choose a new or empty directory for --out."
            )
        return stored

    def begin_or_resume(self, *, rehash: bool = False) -> list[ShardPlan] | None:
        """Prepare the directory for the plan; return the shards that are still missing, None if the zoo is finished.

        Files whose size and time of modification have not changed since they were written or hashed are not read,
        unless `rehash`.

        Raises what `check_directory` raises, before anything is changed, and IntegrityError if a finished file is
        damaged.
        """
        stored = self.check_directory() or {}
        if self._is_finished(rehash=rehash):
            return None
        finished_runs = stored.get("finished_runs", 0)
        if self.paths.manifest.is_file():
            finished_runs = reopen_zoo(self.paths, self.plan, self._store_url)
        write_identity(self.paths, self.plan, self._store_url, finished_runs)
        remove_temporary_files(self.directory)
        return reconcile_shards(self.paths, self.plan, self.store, rehash=rehash)

    def _is_finished(self, *, rehash: bool) -> bool:
        """Return whether the directory already holds the whole zoo. Raises IntegrityError for damaged files."""
        if self.paths.unfinished.exists() or not self.paths.manifest.is_file():
            return False
        manifest = read_manifest(self.directory)
        if manifest.runs != self.plan.settings.runs:
            return False
        in_store = self.files_in_store(manifest.files)
        if self.store is not None and any(self.store.size(path) != manifest.files[path].bytes for path in in_store):
            return False
        expected = manifest.files.keys() - set(in_store)
        existing = [path for path in manifest.files if path in expected and (self.directory / path).is_file()]
        self._verify_finished({path: manifest.files[path] for path in existing}, rehash=rehash)
        return len(existing) == len(expected)

    def _verify_finished(self, files: Mapping[str, FileEntry], *, rehash: bool) -> None:
        """Check files of a finished zoo, path -> entry, and seal them. Raises IntegrityError for a damaged one."""
        seals, sealed = read_seals(self.directory), list[SealedFile]()
        for path, entry in files.items():
            seal = seals.get(path)
            known = seal.modified if seal is not None and seal.sha256 == entry.sha256 else None
            sealed.append(SealedFile(self.directory / path, entry, known))
        times = verify(sealed, REMEDY, rehash=rehash)
        new = {path: Seal(files[path].sha256, time) for path, time in zip(files, times, strict=True)}
        if new != seals:
            with suppress(StorageError):  # a full disk is no reason to refuse a finished zoo
                write_seals(self.directory, new)

    def files_in_store(self, files: Iterable[str]) -> list[str]:
        """Return those of the zoo's files that are in the store, not in the directory."""
        return [path for path in files if path.partition("/")[0] in KINDS] if self.store else []

    def partial_shard(self, shard: ShardPlan) -> PartialShard | None:
        """Return the runs of an unfinished shard that need no training, None if there are none.

        Raises IntegrityError if their files are damaged.
        """
        return read_partial_shard(self.paths, shard)

    def missing_runs(self, shard: ShardPlan) -> tuple[Run, ...]:
        """Return the runs of an unfinished shard that have to be trained: those that no partial shard holds."""
        return missing_runs(read_partial_record(self.paths, shard), shard)

    def write(self, shard: ShardPlan, computed: ComputedShard) -> None:
        """Write a shard's files, unless they are in the store; the record is written last: it makes the shard count."""
        for kind, data in computed.files.items():
            write_atomically(self.directory / shard.path(kind), data)
        modified = {kind: modified_at(self.directory / shard.path(kind)) for kind in computed.files}
        identity = identity_in_record(self.plan, self._store_url)
        replace(computed.record, plan=identity, modified=modified).write(self.paths.record(shard))

    @property
    def _store_url(self) -> str | None:
        return self.store.url if self.store else None
