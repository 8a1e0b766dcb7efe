"""The folder `relabelling/` of a zoo to which labels are being added, and the replacement of the zoo's index.

relabelling/train-00000.json   labels of a shard that is done, with the hash of the zoo.json that they belong to
relabelling/index/             the new index, when all shards are done
relabelling/zoo.json           the new manifest, written last

From the moment that relabelling/zoo.json exists, the zoo is the new one: the index and the manifest are copied to their
places, and then the folder is removed. `read_manifest` refuses the zoo meanwhile, because several files cannot be
replaced at once. Copying again does no harm, so a replacement that was interrupted is finished by starting it again.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnn_zoos.families.family import SPLITS
from rnn_zoos.format.files import check_bytes, sha256_of, write_atomically
from rnn_zoos.format.hashed_json import read_hashed_json, write_hashed_json
from rnn_zoos.format.manifest import MANIFEST, RELABELLING, index_path, read_manifest

_REMEDY = "Delete it and run `rnn-zoos relabel` again: this shard is measured again."
_INDEX_REMEDY = "Restore the zoo's index and zoo.json from a copy, and delete its folder relabelling."


@dataclass(frozen=True)
class ShardLabels:
    """New labels of a shard.

    Attributes:
        zoo: SHA-256 of the zoo.json that they belong to.
        labels: Name -> the value of each row of the shard.
        made: The provenance of these values (`provenance.provenance`).
        seconds: How long the shard took.
    """

    zoo: str
    labels: dict[str, list[float]]
    made: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class LabelFolder:
    """The folder `relabelling/` of the zoo in `zoo`. The caller holds the lock of the zoo."""

    zoo: Path

    @property
    def root(self) -> Path:
        """The folder."""
        return self.zoo / RELABELLING

    def zoo_hash(self) -> str:
        """Return the SHA-256 of the zoo's own zoo.json."""
        return sha256_of(self.zoo / MANIFEST)

    def write(self, shard: str, labels: ShardLabels) -> None:
        """Store the labels of a shard, given by its name."""
        write_hashed_json(self._path(shard), asdict(labels))

    def read(self, shard: str) -> ShardLabels:
        """Return the stored labels of a shard. Raises IntegrityError if they are damaged."""
        return ShardLabels(**read_hashed_json(self._path(shard), _REMEDY))

    def has(self, shard: str, labels: tuple[str, ...], zoo_hash: str) -> bool:
        """Tell whether these labels of a shard are stored, and belong to the zoo as it is now."""
        if not self._path(shard).is_file():
            return False
        stored = self.read(shard)
        return stored.zoo == zoo_hash and stored.labels.keys() >= set(labels)

    def replace_index(self) -> None:
        """Replace index and manifest by the new ones, if all of them are complete, and remove the folder then.

        Raises IntegrityError if a file in the folder is damaged, StorageError if the zoo cannot be written.
        """
        new = self.root / MANIFEST
        if not new.is_file():
            return
        if new.read_bytes() != (self.zoo / MANIFEST).read_bytes():
            files = read_manifest(self.root).files
            paths = [path for path in map(index_path, SPLITS) if path in files]
            for path in paths:
                check_bytes(self.root / path, files[path], _INDEX_REMEDY)
            for path in (*paths, MANIFEST):
                write_atomically(self.zoo / path, (self.root / path).read_bytes())
        new.unlink()  # first: without its index, it could not be copied
        self.remove()

    def remove(self) -> None:
        """Remove the folder, if it exists."""
        if self.root.is_dir():
            shutil.rmtree(self.root)

    def _path(self, shard: str) -> Path:
        return self.root / f"{shard}.json"
