"""zoo.json: what a zoo is made of, and the promise for every byte of it (format 1)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rnn_zoos.errors import FormatError, UnknownNameError
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.rotation import SIDE
from rnn_zoos.format.files import DTYPES, FileEntry, json_bytes, write_json
from rnn_zoos.format.index import ARROW_TYPES
from rnn_zoos.networks.architecture import Architecture

FORMAT = 1
MANIFEST = "zoo.json"
DIGITS = "digits.safetensors"
DIGIT_TENSORS = {"images": ("U8", (SIDE, SIDE)), "labels": ("U8", ()), "numbers": ("I32", ())}
CARD, PRESET = "README.md", "preset.yaml"
PUBLISHED = "published"
"""Folder of a zoo with what is published beside its own files: card, preset, figures, data/."""
_REMEDY = "Put a whole copy of it in its place, or make the zoo again in another directory."
_MAX_BYTES = 256 << 20  # of a manifest: enough for a million shards
_MADE = {"backend", "versions", "machine", "seconds"}
_SHA256 = re.compile("[0-9a-f]{64}")
UNFINISHED = "unfinished"
"""Folder with the plan and the finished shards' index rows while a zoo is being made."""


def shard_path(kind: str, split: str, number: int, count: int) -> str:
    """Return the path of a shard inside a zoo; `kind` is shards (weights) or rollouts."""
    return f"{kind}/{split}-{number:05d}-of-{count:05d}.safetensors"


def index_path(split: str) -> str:
    """Return the path of the index of a split inside a zoo."""
    return f"index/{split}.parquet"


@dataclass(frozen=True)
class Manifest:
    """The content of zoo.json.

    `settings` is the whole preset; `rollouts` name -> [safetensors dtype, shape without rows]; `columns` name -> dtype,
    unit, description; `splits` name -> numbers of runs, rows and shards; `digits` says where MNIST came from (sha256 of
    what was read); `made` by what (backend, versions, machine, seconds), the only part that may differ between two
    makings of the same zoo.

    `imported` is None for a zoo that was made here. Else it says what was read and what was done to it; then `seed` is
    0 and deals nothing, labels and rollouts are those that the source gives (`TaskFamily.imported_columns`,
    `imported_rollout_shapes`), and `settings` has what the source tells of how it was made.
    """

    zoo: str
    preset: str
    settings: Mapping[str, Any]
    seed: int
    runs: int
    architecture: Architecture
    rollouts: Mapping[str, tuple[str, tuple[int, ...]]]
    columns: Mapping[str, Mapping[str, str]]
    splits: Mapping[str, Mapping[str, int]]
    digits: Mapping[str, str] | None
    made: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    imported: Mapping[str, Any] | None = None

    def write(self, directory: Path) -> None:
        """Write zoo.json. Inverse of `read_manifest`."""
        data = {"format": FORMAT, **asdict(self)}
        if self.imported is None:
            del data["imported"]
        shapes = self.architecture.parameter_shapes
        data["parameters"] = [{"name": name, "shape": list(shape)} for name, shape in shapes.items()]
        write_json(directory / MANIFEST, {**data, "sha256": seal(data)})

    def paths(self, kind: str, split: str) -> list[str]:
        """Return the paths of all shards of a split, in order; `kind` is shards or rollouts."""
        count = self.splits[split]["shards"]
        return [shard_path(kind, split, number, count) for number in range(count)]

    def tensors(self, kind: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return name -> (safetensors dtype, shape without rows) of a shard; `kind` is shards or rollouts."""
        if kind == "rollouts":
            return dict(self.rollouts)
        return {name: ("F32", shape) for name, shape in self.architecture.parameter_shapes.items()}

    @property
    def snapshots(self) -> list[int]:
        """The steps at which weights were kept."""
        return list(self.settings["snapshots"])


def seal(data: Mapping[str, Any]) -> str:
    """Return the hash of the manifest's other entries, by which it notices that it was damaged."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Read zoo.json of a directory. Raises FormatError if it is no finished zoo of format 1."""
    path = directory / MANIFEST
    if not path.is_file():
        if (directory / UNFINISHED).is_dir():
            raise FormatError(f"{directory} is an unfinished zoo. Run the same `rnn-zoos generate` again to finish it.")
        raise FormatError(
            f"{directory} is not a zoo: it has no {MANIFEST}. Expected the output of `rnn-zoos generate`."
        )
    if path.stat().st_size > _MAX_BYTES:
        raise FormatError(f"{path} has {path.stat().st_size:,} bytes; a manifest has at most {_MAX_BYTES:,}. {_REMEDY}")
    try:
        text = path.read_bytes()
        return _parse(json.loads(text), text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, (FormatError, UnknownNameError)):
            raise
        what = f"{path} is not a manifest of format {FORMAT} ({type(error).__name__}: {error})"
        raise FormatError(f"{what}. {_REMEDY}") from error


def _parse(data: dict[str, Any], text: bytes) -> Manifest:
    if data["format"] != FORMAT:
        raise FormatError(f"This zoo is not of format {FORMAT}, the only one known. Update rnn-zoos.")
    if json_bytes(data) != text:  # white space, or a key given twice: the seal does not see them
        raise FormatError(f"{MANIFEST} is damaged: its JSON is not laid out as it was written. {_REMEDY}")
    if data.pop("sha256") != seal(data):
        raise FormatError(f"{MANIFEST} is damaged: it does not have the sha256 that it names. {_REMEDY}")
    del data["format"]
    parameters = data.pop("parameters")
    data["architecture"] = Architecture(**data["architecture"])
    if 4 * data["architecture"].num_layers + 2 != len(parameters):  # before shapes of a billion layers are listed
        raise FormatError(f"{MANIFEST}: {len(parameters)} parameters do not fit {data['architecture']}.")
    given = {parameter["name"]: tuple(parameter["shape"]) for parameter in parameters}
    if list(given.items()) != list(data["architecture"].parameter_shapes.items()):
        raise FormatError(f"{MANIFEST}: the list of parameters does not fit {data['architecture']}.")
    data["rollouts"] = {name: (dtype, tuple(shape)) for name, (dtype, shape) in data["rollouts"].items()}
    data["files"] = {path: FileEntry(**entry) for path, entry in data["files"].items()}
    manifest = Manifest(**data)
    for what, right in _expectations(manifest):
        if not right:
            raise FormatError(f"{MANIFEST}: {what}. {_REMEDY}")
    return manifest


def _expectations(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield what has to hold before anybody counts with the manifest, and whether it does. `check` looks further."""
    counts = [manifest.runs, *manifest.snapshots, *(n for split in manifest.splits.values() for n in split.values())]
    yield "runs, snapshots and counts of splits have to be whole numbers of at least 0", all(map(_is_count, counts))
    split_keys = {frozenset(split) for split in manifest.splits.values()}
    right = list(manifest.splits) == list(SPLITS) and split_keys == {frozenset({"runs", "rows", "shards"})}
    yield f"splits has to give runs, rows and shards of {', '.join(SPLITS)}", right
    listed = sum(split["shards"] for split in manifest.splits.values()) <= len(manifest.files)
    yield f"{len(manifest.files)} files cannot hold all the shards that splits counts", listed
    for path, entry in manifest.files.items():
        parts = PurePosixPath(path)
        inside = not parts.is_absolute() and ".." not in parts.parts
        yield f"the file {path!r} is not inside the zoo", inside
        whole = _is_count(entry.bytes) and _is_count(entry.rows) and bool(_SHA256.fullmatch(str(entry.sha256)))
        yield f"{path}: expected a sha256, bytes and rows, found {entry}", whole
    for name, (dtype, shape) in manifest.rollouts.items():
        yield f"the rollouts {name} are {dtype} {shape}", dtype in DTYPES and all(map(_is_count, shape))
    for name, column in manifest.columns.items():
        known = column.keys() == {"dtype", "description", "unit"} and column["dtype"] in ARROW_TYPES
        yield f"the column {name} is {dict(column)}", known
    yield "made lacks backend, versions, machine or seconds", manifest.made.keys() >= _MADE


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
