"""The output directory on disk while a zoo is being made: its paths, its lock, its temporary files.

shards/, rollouts/               finished shards, each written whole or not at all
unfinished/plan.json             the plan that the directory was started with
unfinished/train-00000.json      record of a finished shard (index rows, hashes of its files), written last
unfinished/partial/              the last shards of a zoo that is being extended: their runs are not trained again
zoo.json                         written when all shards are finished; then unfinished/ is removed
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rnn_zoos.errors import BusyError, StorageError
from rnn_zoos.format.files import TEMPORARY_SUFFIX
from rnn_zoos.format.manifest import MANIFEST, UNFINISHED
from rnn_zoos.generation.plan import ShardPlan
from rnn_zoos.generation.writing.records import KINDS

_LOCK = ".lock"
_PARTIAL = "partial"

ShardFiles = dict[str, dict[str, list[Path]]]
"""kind (shards, rollouts) -> name of the shard -> its files"""


@dataclass(frozen=True)
class OutputPaths:
    """Where everything is in the output directory `root`."""

    root: Path

    @property
    def manifest(self) -> Path:
        """zoo.json, which only a finished zoo has."""
        return self.root / MANIFEST

    @property
    def unfinished(self) -> Path:
        """The folder that only an unfinished zoo has."""
        return self.root / UNFINISHED

    @property
    def plan(self) -> Path:
        """The plan of an unfinished zoo."""
        return self.unfinished / "plan.json"

    def record(self, shard: ShardPlan) -> Path:
        """The record of a finished shard of an unfinished zoo."""
        return self.unfinished / f"{shard.name}.json"

    def existing_records(self) -> list[Path]:
        """The records that exist, in the order of their names."""
        return sorted(self.unfinished.glob("*-*.json"))

    def partial(self, shard: ShardPlan, kind: str) -> Path:
        """A file of a shard that has to grow; `kind` is record, shards or rollouts."""
        suffix = "json" if kind == "record" else "safetensors"
        return self.unfinished / _PARTIAL / f"{shard.name}.{kind}.{suffix}"

    def existing_shard_files(self) -> ShardFiles:
        """The files of shards that exist, whatever number of shards their names contain.

        Each folder is listed once: listing it for every shard would take an hour for 20,000 shards.
        """
        found: ShardFiles = {kind: defaultdict(list) for kind in KINDS}
        for kind in KINDS:
            for path in (self.root / kind).glob("*-of-*.safetensors"):
                found[kind][path.name.rpartition("-of-")[0]].append(path)
        return found

    def has_foreign_files(self) -> bool:
        """Whether there is more than the lock and what a generation leaves that is killed before it wrote its plan."""
        temporary = [path for path in self.unfinished.rglob("*") if path.name.endswith(TEMPORARY_SUFFIX)]
        expected = {self.root / _LOCK, self.unfinished, *temporary}
        return any(path not in expected for path in self.root.rglob("*"))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which is created if it does not exist.

    Raises BusyError if another process holds the lock, StorageError if the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / _LOCK, timeout=0):
            yield
    except Timeout:
        raise BusyError(
            f"{directory} is being written by another process. Wait until it ends, or choose another --out directory."
        ) from None
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"{directory} cannot be written: {error.strerror or error}. Choose another --out directory."
        ) from error


def remove_temporary_files(directory: Path) -> list[Path]:
    """Remove the temporary files of killed processes and return their paths. The caller holds the lock."""
    temporary = list(directory.rglob(f".*{TEMPORARY_SUFFIX}"))
    for path in temporary:
        path.unlink(missing_ok=True)
    return temporary


def repair(directory: Path) -> list[Path]:
    """Remove the temporary files of killed processes from a directory, under its lock; return their paths.

    Raises BusyError if another process is writing to the directory.
    """
    if not directory.is_dir():
        return []
    with locked(directory):
        return remove_temporary_files(directory)
