"""The output directory on disk while a zoo is being made: its paths, its lock, its temporary files.

shards/, rollouts/               finished shards, each written whole or not at all
unfinished/plan.json             the plan that the directory was started with
unfinished/train-00000.json      record of a finished shard (index rows, hashes of its files), written last
unfinished/partial/              the last shards of a zoo that is being extended: their runs are not trained again
unfinished/trained/              runs that a device has trained, until there are shards of them (`handover.py`)
zoo.json                         written when all shards are finished; then unfinished/ is removed
.cache/rnn-zoos-seals.json       times of modification of the files of a finished zoo (seals.py)
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from rnn_zoos.errors import BusyError, StorageError, ZooError
from rnn_zoos.format.files import TEMPORARY_NAME, TEMPORARY_SUFFIX
from rnn_zoos.format.manifest import MANIFEST, UNFINISHED
from rnn_zoos.generation.shard_plans import ShardPlan
from rnn_zoos.generation.writing.records import KINDS
from rnn_zoos.generation.writing.seals import SEALS

_LOCK = ".lock"
_PARTIAL = "partial"
_REMEDIES = {
    errno.EACCES: "Fix its permissions, or choose another --out directory.",
    errno.EPERM: "Fix its permissions, or choose another --out directory.",
    errno.EROFS: "Choose another --out directory.",
    errno.ENOSPC: "Free disk space, then run the same command again.",
    errno.EDQUOT: "Free disk space, or ask for a larger quota, then run the same command again.",
    errno.EIO: "The disk, or the connection to it, fails: check it, or choose another --out directory.",
}
"""Error of the file system -> what to do about it."""

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

    def is_zoo(self) -> bool:
        """Whether the directory holds a zoo, or what a generation that was killed left of one."""
        if self.manifest.is_file() or self.plan.is_file() or self.existing_records():
            return True
        return self.unfinished.is_dir() and not self.has_foreign_files()

    def has_foreign_files(self) -> bool:
        """Whether there is more than lock, seals and what a generation leaves that was killed before writing a plan."""
        temporary = [path for path in self.unfinished.rglob("*") if is_temporary(path)]
        seals = self.root / SEALS
        expected = {self.root / _LOCK, seals, seals.parent, self.unfinished, *temporary}
        return any(path not in expected for path in self.root.rglob("*"))


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which is created if it does not exist.

    Raises BusyError if another process holds the lock, StorageError if the file system refuses to lock the directory,
    or to work on a file in it later. Other errors, such as a lost connection, are left as they are.
    """
    lock = FileLock(directory / _LOCK, timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{directory} is being written by another process. Wait until it ends, or choose another --out directory."
        ) from None
    except OSError as error:
        raise _storage_error(f"{directory} cannot be written", error) from error
    try:
        yield
    except OSError as error:
        if isinstance(error, ZooError) or not _is_about(error, directory):
            raise
        raise _storage_error(f"{error.filename} cannot be read or written", error) from error
    finally:
        lock.release()


def _is_about(error: OSError, directory: Path) -> bool:
    """Return whether an error names a file in a directory; that of a connection or another program names none."""
    if not isinstance(error.filename, (str, os.PathLike)):
        return False
    return Path(error.filename).absolute().is_relative_to(directory.absolute())


def _storage_error(problem: str, error: OSError) -> StorageError:
    remedy = _REMEDIES.get(error.errno or 0, "Run the same command again, or choose another --out directory.")
    return StorageError(f"{problem}: {error.strerror or error}. {remedy}")


def is_temporary(path: Path) -> bool:
    """Return whether a path is a file with a name that `write_atomically` gives to a file that is not complete yet."""
    return TEMPORARY_NAME.fullmatch(path.name) is not None and path.is_file()


def remove_temporary_files(directory: Path) -> list[Path]:
    """Remove the temporary files of killed processes and return their paths. The caller holds the lock."""
    temporary = [path for path in directory.rglob(f".*{TEMPORARY_SUFFIX}") if is_temporary(path)]
    for path in temporary:
        path.unlink(missing_ok=True)
    return temporary


def repair(directory: Path) -> list[Path]:
    """Remove the temporary files of killed processes from a zoo, finished or not, under its lock; return their paths.

    Any other directory is left as it is. Raises BusyError if another process is writing to the zoo.
    """
    if not OutputPaths(directory).is_zoo():
        return []
    with locked(directory):
        return remove_temporary_files(directory)
