"""The manifest `zoo.json` of format 1: how a zoo was made, what its files contain, and the hash of every file.

The names of a zoo's files and folders are defined here, too. Nothing about a zoo is known before its manifest has been
read: `read_manifest` checks it before any other file is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rnn_zoos.errors import FormatError, IntegrityError, UnknownNameError
from rnn_zoos.families.rotation import SIDE
from rnn_zoos.format.files import FileEntry, file_blocks, json_bytes, write_json
from rnn_zoos.format.requirements import requirements
from rnn_zoos.networks.architecture import Architecture

FORMAT = 1
"""Version of the format; it changes when an older rnn-zoos could not read the zoo."""
MIXED_FORMAT = 2
"""Version of zoos of several architectures, of which rnn-zoos 0.1 says that it is not supported."""
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
        architectures: The architectures of the networks, mostly one.
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
        shard_architectures: Split -> number of the architecture of each of its shards; None for one architecture.
    """

    zoo: str
    preset: str
    settings: Mapping[str, Any]
    seed: int
    runs: int
    architectures: tuple[Architecture, ...]
    rollouts: Mapping[str, tuple[str, tuple[int, ...]]]
    columns: Mapping[str, Mapping[str, str]]
    splits: Mapping[str, Mapping[str, int]]
    digits: Mapping[str, str] | None
    made: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    imported: Mapping[str, Any] | None = None
    shard_architectures: Mapping[str, tuple[int, ...]] | None = None

    def write(self, directory: Path) -> None:
        """Write zoo.json into a zoo's directory. Inverse of `read_manifest`.

        The file has the attributes as keys, and in addition `format`, `parameters` (name and shape of each parameter,
        in order) and `sha256` (see `manifest_hash`). In format 1, `architecture` stands in the place of
        `architectures`, and there is no `shard_architectures`; in format 2, `parameters` has a list per architecture.

        Raises:
            StorageError: The file system refused to write.
        """
        data = self.as_data()
        write_json(directory / MANIFEST, {**data, "sha256": manifest_hash(data)})

    def as_data(self) -> dict[str, Any]:
        """Return the content of the file as JSON data, without `sha256`."""
        mixed = self.shard_architectures is not None
        data = {"format": self.format}
        for name, value in asdict(self).items():
            if name == "architectures" and not mixed:
                data["architecture"] = value[0]
            elif value is not None or name not in ("imported", "shard_architectures"):
                data[name] = value
        parameters = [
            [{"name": name, "shape": list(shape)} for name, shape in architecture.parameter_shapes.items()]
            for architecture in self.architectures
        ]
        return {**data, "parameters": parameters if mixed else parameters[0]}

    def identity(self) -> str:
        """Return the SHA-256 over everything except how and when the zoo was made: equal for equal zoos."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"made": {}}
        if values["shard_architectures"] is None:  # the text that version 0.1 hashed: places and embeddings hold it
            del values["shard_architectures"]
            values = {
                "architecture" if name == "architectures" else name: value[0] if name == "architectures" else value
                for name, value in values.items()
            }
        text = ", ".join(f"{name}={value!r}" for name, value in values.items())
        return hashlib.sha256(f"Manifest({text})".encode()).hexdigest()

    @property
    def architecture(self) -> Architecture:
        """The architecture that all networks share. Raises FormatError if there are several."""
        if len(self.architectures) > 1:
            names = ", ".join(architecture.name for architecture in self.architectures)
            raise FormatError(
                f"This zoo has networks of {len(self.architectures)} architectures ({names}), where one is needed. Use "
                "a zoo of one architecture, or `Zoo.stacks`, which groups networks by architecture."
            )
        return self.architectures[0]

    def architecture_of(self, split: str, shard: int) -> Architecture:
        """Return the architecture of the networks of a shard, given by its split and its number there."""
        of_shards = self.shard_architectures
        return self.architectures[0 if of_shards is None else of_shards[split][shard]]

    def paths(self, kind: str, split: str) -> list[str]:
        """Return the paths of all shards of a split, in order; `kind` is "shards" or "rollouts"."""
        count = self.splits[split]["shards"]
        return [shard_path(kind, split, number, count) for number in range(count)]

    def tensors(self, kind: str, architecture: Architecture) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the tensors of a shard: name -> (safetensors dtype, shape without the row axis).

        Args:
            kind: "shards" (weights) or "rollouts".
            architecture: The architecture of its networks.
        """
        if kind == "rollouts":
            return dict(self.rollouts)
        return {name: ("F32", shape) for name, shape in architecture.parameter_shapes.items()}

    @property
    def format(self) -> int:
        """Version of the format: 1, or 2 for a zoo of several architectures."""
        return FORMAT if self.shard_architectures is None else MIXED_FORMAT

    def index_rows(self, split: str) -> int:
        """Return the number of rows of the index of a split."""
        entry = self.files.get(index_path(split))
        return 0 if entry is None else entry.rows

    @property
    def snapshots(self) -> list[int]:
        """The steps at which snapshots were stored, in ascending order."""
        return list(self.settings["snapshots"])


def zoo_title(zoo: Mapping[str, str]) -> str:
    """Return a zoo in words, from the `name`, `preset` and `sha256` that results and saved encoders have of it."""
    return f"{zoo['name']}, preset {zoo['preset']} ({zoo['sha256'][:12]})"


def manifest_hash(data: Mapping[str, Any]) -> str:
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
            raise FormatError(
                f"{directory} is an unfinished zoo. Run the same `rnn-zoos generate` again to finish it; parts are "
                "joined with `rnn-zoos merge`."
            )
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
    mixed = data["format"] == MIXED_FORMAT
    if data["format"] != FORMAT and not mixed:
        raise FormatError(
            f"This zoo has format {data['format']!r}; only the formats {FORMAT} and {MIXED_FORMAT} are supported. "
            "Update rnn-zoos."
        )
    if json_bytes(data) != text:  # changed white space, or a duplicate key: the hash does not cover them
        raise FormatError(f"{MANIFEST} is damaged: its JSON is not formatted as it was written. {_REMEDY}")
    if data.pop("sha256") != manifest_hash(data):
        raise FormatError(f"{MANIFEST} is damaged: its content does not match its sha256. {_REMEDY}")
    del data["format"]
    parameters = data.pop("parameters")
    sizes = data["architectures"] if mixed else [data.pop("architecture")]
    pairs = zip(sizes, parameters if mixed else [parameters], strict=True)
    data["architectures"] = tuple(_parse_architecture(*pair) for pair in pairs)
    if mixed:
        data["shard_architectures"] = {name: tuple(numbers) for name, numbers in data["shard_architectures"].items()}
    data["rollouts"] = {name: (dtype, tuple(shape)) for name, (dtype, shape) in data["rollouts"].items()}
    data["files"] = {path: FileEntry(**entry) for path, entry in data["files"].items()}
    manifest = Manifest(**data)
    for violation, holds in requirements(manifest):
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
