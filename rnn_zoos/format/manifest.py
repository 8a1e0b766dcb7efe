"""The manifest `zoo.json` of format 1: how a zoo was made, what its files contain, and the hash of every file.

The names of a zoo's files and folders are defined here, too. Nothing about a zoo is known before its manifest has been
read: `read_manifest` checks it before any other file is opened.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isfinite, prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rnn_zoos.errors import FormatError, IntegrityError, UnknownNameError
from rnn_zoos.families.family import SPLITS
from rnn_zoos.families.rotation import SIDE
from rnn_zoos.format.files import DTYPES, FileEntry, file_blocks, json_bytes, write_json
from rnn_zoos.format.index import ARROW_TYPES
from rnn_zoos.networks.architecture import Architecture

FORMAT = 1
"""Version of the format; it changes when an older rnn-zoos could not read the zoo."""
MANIFEST = "zoo.json"
DIGITS = "digits.safetensors"
"""The MNIST digits that the rollouts of a sequential-mnist zoo refer to."""
DIGIT_TENSORS = {"images": ("U8", (SIDE, SIDE)), "labels": ("U8", ()), "numbers": ("I32", ())}
"""Tensors of `DIGITS`: name -> (safetensors dtype, shape without the row axis). `numbers` are positions in MNIST."""
CARD, PRESET = "README.md", "preset.yaml"
"""The dataset card and the preset of a published zoo."""
PUBLISHED = "published"
"""Folder of a zoo with what is published in addition to its own files: card, preset, figures, data/."""
UNFINISHED = "unfinished"
"""Folder with the plan and the index rows of the finished shards, until the zoo is complete."""
RELABELLING = "relabelling"
"""Folder with labels that are being added to a zoo. While it contains a manifest, those files replace the zoo's own."""

_MAX_BYTES = 256 << 20  # of a manifest: enough for a million shards
_MAX_ROW_BYTES = 1 << 40  # of one tensor in one row: far below where sizes overflow
_MAX_AXES = 8
_MAX_STEP = 1 << 31  # steps are int32 in the index
_MADE = {"backend", "versions", "machine", "seconds"}
_SHA256 = re.compile("[0-9a-f]{64}")
_REMEDY = "Replace it with an intact copy, or generate the zoo again in another directory."


def shard_path(kind: str, split: str, number: int, count: int) -> str:
    """Return the path of a shard inside a zoo.

    Args:
        kind: "shards" (weights) or "rollouts".
        split: train, validation, test or ood.
        number: Number of the shard within its split, from 0.
        count: Number of shards of the split.
    """
    return f"{kind}/{split}-{number:05d}-of-{count:05d}.safetensors"


def index_path(split: str) -> str:
    """Return the path of the index of a split inside a zoo."""
    return f"index/{split}.parquet"


@dataclass(frozen=True)
class Manifest:
    """The content of zoo.json.

    Attributes:
        zoo: Name of the task family, such as formal-languages.
        preset: Name of the preset; "imported" for an imported zoo.
        settings: All settings of the preset, with the changes that were given on the command line. For an imported zoo,
            those that are known from its source.
        seed: Seed of the zoo: tasks, initial weights, training data and evaluation follow from it. 0 and unused if
            `imported`.
        runs: Number of runs, those that diverged included.
        architecture: The architecture that all networks share.
        rollouts: Tensor name -> (safetensors dtype, shape without the row axis) of the rollouts.
        columns: Name -> dtype (a key of `ARROW_TYPES`), unit and description of each column of the index, in order.
        splits: Split -> numbers of `runs`, `rows` (snapshots) and `shards`.
        digits: Where the MNIST digits came from (`origin`, and `sha256` of what was read); None if there are none.
        made: How the files were produced: `backend`, `versions`, `machine`, `seconds`. The only part that may differ
            when the same zoo is generated twice.
        files: Path inside the zoo -> hash, size and rows, of all files of the format except zoo.json.
        imported: None for a zoo that rnn-zoos generated. Otherwise what was read (`layout`, `parts`) and how often
            something was repaired or left out (`counts`). The labels and rollouts of such a zoo are those that the
            source provides: `TaskFamily.imported_columns` and `TaskFamily.imported_rollout_shapes`.
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
        """Write zoo.json into a zoo's directory. Inverse of `read_manifest`.

        The file has the attributes as keys, and in addition `format`, `parameters` (name and shape of each parameter,
        in order) and `sha256` (see `seal`).

        Raises:
            StorageError: The file system refused to write.
        """
        data = {"format": FORMAT, **asdict(self)}
        if self.imported is None:
            del data["imported"]
        shapes = self.architecture.parameter_shapes
        data["parameters"] = [{"name": name, "shape": list(shape)} for name, shape in shapes.items()]
        write_json(directory / MANIFEST, {**data, "sha256": seal(data)})

    def paths(self, kind: str, split: str) -> list[str]:
        """Return the paths of all shards of a split, in order; `kind` is "shards" or "rollouts"."""
        count = self.splits[split]["shards"]
        return [shard_path(kind, split, number, count) for number in range(count)]

    def tensors(self, kind: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the tensors of a shard: name -> (safetensors dtype, shape without the row axis).

        `kind` is "shards" (weights) or "rollouts".
        """
        if kind == "rollouts":
            return dict(self.rollouts)
        return {name: ("F32", shape) for name, shape in self.architecture.parameter_shapes.items()}

    @property
    def snapshots(self) -> list[int]:
        """The steps at which snapshots were stored, in ascending order."""
        return list(self.settings["snapshots"])


def seal(data: Mapping[str, Any]) -> str:
    """Return the SHA-256 over all other entries of a manifest, which its entry `sha256` must equal."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read_manifest(directory: Path) -> Manifest:
    """Read and validate the manifest of a zoo.

    Validated is what other code relies on when it uses the manifest: its hash, types, and paths that stay inside the
    zoo. `check_zoo` compares it with the other files.

    Args:
        directory: Directory of the zoo.

    Returns:
        The manifest.

    Raises:
        FormatError: `directory` is not a finished zoo of format 1, or its manifest is damaged.
        IntegrityError: The index is being replaced by one with further labels.
        StorageError: The manifest cannot be read.
        UnknownNameError: The manifest names a cell type that does not exist.
    """
    path = directory / MANIFEST
    if (directory / RELABELLING / MANIFEST).is_file():
        raise IntegrityError(
            f"The index of {directory} is being replaced by one with further labels. Try again in a moment; if that "
            f"was interrupted, finish it with: rnn-zoos relabel {directory}"
        )
    if not path.is_file():
        if (directory / UNFINISHED).is_dir():
            raise FormatError(f"{directory} is an unfinished zoo. Run the same `rnn-zoos generate` again to finish it.")
        raise FormatError(
            f"{directory} is not a zoo: it has no {MANIFEST}. Expected a directory that `rnn-zoos generate` wrote."
        )
    if path.stat().st_size > _MAX_BYTES:
        raise FormatError(f"{path} has {path.stat().st_size:,} bytes; the limit is {_MAX_BYTES:,}. {_REMEDY}")
    try:
        text = b"".join(file_blocks(path))
        return _parse(json.loads(text), text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, (FormatError, UnknownNameError)):
            raise
        raise FormatError(
            f"{path} is not a manifest of format {FORMAT} ({type(error).__name__}: {error}). {_REMEDY}"
        ) from error


def _parse(data: dict[str, Any], text: bytes) -> Manifest:
    """Return the manifest that JSON data describe; `text` is the file they were read from."""
    if data["format"] != FORMAT:
        raise FormatError(
            f"This zoo has format {data['format']!r}; only format {FORMAT} is supported. Update rnn-zoos."
        )
    if json_bytes(data) != text:  # changed white space, or a duplicate key: the hash does not cover them
        raise FormatError(f"{MANIFEST} is damaged: its JSON is not formatted as it was written. {_REMEDY}")
    if data.pop("sha256") != seal(data):
        raise FormatError(f"{MANIFEST} is damaged: its content does not match its sha256. {_REMEDY}")
    del data["format"]
    data["architecture"] = _parse_architecture(data["architecture"], data.pop("parameters"))
    data["rollouts"] = {name: (dtype, tuple(shape)) for name, (dtype, shape) in data["rollouts"].items()}
    data["files"] = {path: FileEntry(**entry) for path, entry in data["files"].items()}
    manifest = Manifest(**data)
    for violation, holds in _requirements(manifest):
        if not holds:
            raise FormatError(f"{MANIFEST}: {violation}. {_REMEDY}")
    return manifest


def _parse_architecture(sizes: dict[str, Any], parameters: list[dict[str, Any]]) -> Architecture:
    """Return the architecture, whose parameters must be those that the manifest lists."""
    architecture = Architecture(**sizes)
    if 4 * architecture.num_layers + 2 != len(parameters):  # before the shapes of a billion layers are computed
        raise FormatError(f"{MANIFEST}: {len(parameters)} parameters do not match {architecture}.")
    listed = {parameter["name"]: tuple(parameter["shape"]) for parameter in parameters}
    if list(listed.items()) != list(architecture.parameter_shapes.items()):
        raise FormatError(f"{MANIFEST}: the list of parameters does not match {architecture}.")
    return architecture


def _requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield (message if violated, whether it holds) for everything that code using a manifest relies on."""
    counts = [manifest.runs, *manifest.snapshots, *(n for split in manifest.splits.values() for n in split.values())]
    yield "runs, snapshots and the counts in splits must be non-negative integers", all(map(_is_count, counts))
    keys = {frozenset(split) for split in manifest.splits.values()}
    complete = list(manifest.splits) == list(SPLITS) and keys == {frozenset({"runs", "rows", "shards"})}
    yield f"splits must give runs, rows and shards of {', '.join(SPLITS)}", complete
    shards, files = sum(split["shards"] for split in manifest.splits.values()), len(manifest.files)
    yield f"splits counts {shards} shards, but files has only {files} entries", shards <= files
    for path, entry in manifest.files.items():
        yield f"the file {path!r} has characters that no file of a zoo has", path.isascii() and path.isprintable()
        parts = PurePosixPath(path)
        yield f"the file {path!r} is not inside the zoo", not parts.is_absolute() and ".." not in parts.parts
        valid = _is_count(entry.bytes) and _is_count(entry.rows) and bool(_SHA256.fullmatch(str(entry.sha256)))
        yield f"{path}: expected a sha256, bytes and rows, found {entry}", valid
    for name, (dtype, shape) in manifest.rollouts.items():
        valid = dtype in DTYPES and all(map(_is_count, shape))
        yield f"the rollouts {name} have dtype {dtype} and shape {shape}", valid
    for name, column in manifest.columns.items():
        strings = column.keys() == {"dtype", "description", "unit"} and all(isinstance(v, str) for v in column.values())
        valid = strings and column["dtype"] in ARROW_TYPES
        yield f"the column {name} is described as {dict(column)}", valid
    yield f"made must have {', '.join(sorted(_MADE))}", manifest.made.keys() >= _MADE
    yield from _value_requirements(manifest)
    yield from _size_requirements(manifest)


def _value_requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield requirements on single values that are shown, or that the task family computes with."""
    texts = (manifest.zoo, manifest.preset, manifest.made["machine"], manifest.made["backend"])
    yield "zoo, preset, machine and backend must be texts", all(isinstance(text, str) for text in texts)
    yield "versions must be an object", isinstance(manifest.made["versions"], dict)
    yield f"seconds is {manifest.made['seconds']!r}; expected a number", _is_number(manifest.made["seconds"])
    decays = manifest.settings["weight_decay"]
    valid = isinstance(decays, list) and bool(decays) and all(map(_is_number, decays))
    yield f"weight_decay is {decays!r}; expected a list of numbers", valid
    yield f"seed is {manifest.seed!r}; expected an integer", type(manifest.seed) is int
    if manifest.imported is not None:
        layout = manifest.imported["layout"]
        yield f"imported has the layout {layout!r}; expected a text", isinstance(layout, str)
    for split, counts in manifest.splits.items():
        index = manifest.files.get(index_path(split))
        rows = 0 if index is None else index.rows
        matches = (rows == 0) == (counts["rows"] == 0)  # loaders skip a split without rows
        yield f"splits counts {counts['rows']} rows of {split}; its index has {rows}", matches


def _size_requirements(manifest: Manifest) -> Iterator[tuple[str, bool]]:
    """Yield requirements on sizes: without them, a tensor of no rows or a number of steps could overflow."""
    yield f"settings: snapshots must be below {_MAX_STEP}", all(step < _MAX_STEP for step in manifest.snapshots)
    for kind in ("shards", "rollouts"):
        for name, (dtype, shape) in manifest.tensors(kind).items():
            size = np.dtype(DTYPES[dtype]).itemsize * prod(max(length, 1) for length in shape)
            valid = len(shape) <= _MAX_AXES and size <= _MAX_ROW_BYTES
            yield f"{name} of one row in {kind} would have the shape {shape}, {size:,} bytes", valid


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
